//! The keys of the configuration, in one place: it is read by these tables, and the JSON Schema for editors is made of
//! them.

use serde_json::Value;

use super::decode::CONNECTIONS;
use super::registration::SUBSCRIBE;
use super::sources::TRUSTED_PROXIES_MAX;
use crate::connectors::deliveries;
use crate::signature::Scheme;
use crate::yaml::secret::{A_SECRET, SECRET};
use crate::yaml::shape::{Form, Shape, key, schema};

/// The JSON Schema of the configuration.
#[must_use]
pub fn config_schema() -> Value {
    schema(&CONFIG, "Tripline configuration")
}

/// Words that a key may hold.
pub(super) type Words = &'static [&'static str];

const TEXTS: Form = Form::OneOrMore(&Form::Text);

/// `tripline.yaml`.
pub(super) static CONFIG: Shape = Shape {
    name: "configuration",
    about: "What comes in, who may be asked, and where everything is.",
    keys: &[
        key("listen", Form::Text, "Webhook ingress, HOST:PORT; 127.0.0.1:8080 by default."),
        key("admin", Form::Text, "API, metrics, health: HOST:PORT or unix:/path; 127.0.0.1:8081 by default."),
        key("admin_token", A_SECRET, "Bearer token of the admin API; needed off loopback."),
        key("public_url", Form::Text, "How Orchestrator reaches the ingress, https://HOST; needed to register webhooks."),
        key("state", Form::Text, "Where the journal and its checkpoints are; ./state by default."),
        key("rules", TEXTS, "Rule folders and files; rules/ by default."),
        key("connectors", Form::AnyOf(&[TEXTS, Form::Object(&CONNECTORS)]), "Connector folders and files, and what is set of them."),
        key("retention", Form::Object(&RETENTION), "How long the journal keeps what."),
        key("limits", Form::Object(&LIMITS), "Limits of the ingress."),
        key("shutdown_grace", Form::Duration, "How long stopping waits for attempts in flight; 25s by default."),
        key("egress", Form::Object(&EGRESS), "What may go out, and through what."),
        key("log", Form::Object(&LOG), "Logging."),
        key("vars", Form::Map(&Form::Any), "Values for rules: `${vars.name}`."),
        key("orchestrators", Form::Map(&Form::Object(&ORCHESTRATOR)), "Orchestrators by name."),
        key("sources", Form::Map(&Form::Object(&SOURCE)), "Sources by name: where events come in."),
    ],
    ..Shape::EMPTY
};

/// `retention`.
pub(super) static RETENTION: Shape = Shape {
    name: "retention",
    about: "How long the journal keeps what.",
    keys: &[
        key("age", Form::Duration, "Events and finished runs older than this are removed; 30d by default."),
        key("size", Form::Size, "Beyond this the oldest are removed, whatever their age; 10GiB by default."),
        key("dead", Form::Duration, "Dead and ambiguous runs are kept this long, with their events; 90d by default."),
    ],
    ..Shape::EMPTY
};

/// `limits`.
pub(super) static LIMITS: Shape = Shape {
    name: "limits",
    about: "Limits of the ingress.",
    keys: &[
        key("body", Form::Size, "The largest body; 32MiB by default."),
        key("in_flight", Form::Size, "Bodies in memory at once; 64MiB by default."),
        key("connections", Form::Integer(CONNECTIONS), "Connections at once; 10000 by default."),
        key("header_timeout", Form::Duration, "For the head of a request; 10s by default."),
        key("body_timeout", Form::Duration, "For the body of a request; 30s by default."),
    ],
    ..Shape::EMPTY
};

/// `log`.
pub(super) static LOG: Shape = Shape {
    name: "log",
    about: "Logging.",
    keys: &[
        key("format", Form::Words(&["auto", "text", "json"]), "auto (the default): text on a terminal, JSON otherwise."),
        key("level", Form::Text, "Such as `info` (the default) or `tripline::intake=debug,info`."),
    ],
    ..Shape::EMPTY
};

/// `egress`.
pub(super) static EGRESS: Shape = Shape {
    name: "egress",
    about: "What may go out, and through what.",
    keys: &[
        key("allow", TEXTS, "Networks and hosts that requests may go to besides public ones and those written out."),
        key("proxy", Form::Text, "The proxy's URL."),
        key("ca", Form::Text, "A PEM file of further certificate authorities."),
    ],
    ..Shape::EMPTY
};

/// `connectors`.
pub(super) static CONNECTORS: Shape = Shape {
    name: "connectors",
    about: "Where connectors are, and what is set of them.",
    keys: &[
        key("files", TEXTS, "Connector folders and files.").required(),
        key("config", Form::Map(&Form::Map(&A_VALUE)), "Values of their `config`, by connector and field."),
    ],
    ..Shape::EMPTY
};

const A_VALUE: Form = Form::AnyOf(&[Form::Object(&SECRET), Form::Scalar]);

/// An orchestrator.
pub(super) static ORCHESTRATOR: Shape = Shape {
    name: "orchestrator",
    about: "An Orchestrator tenant.",
    keys: &[
        key("url", Form::Text, "Such as https://cloud.uipath.com/ORGANIZATION/TENANT/orchestrator_").required(),
        key("edition", Form::Words(&["cloud", "suite", "standalone"]), "Which product it is; needed where the URL does not tell."),
        key("tenant", Form::Text, "The tenant's name, sent where the edition needs it."),
        key("auth", Form::Object(&AUTH), "How to authenticate: exactly one way.").required(),
        key("folder", DEFAULT_FOLDER, "Default folder of steps: a path, {id: …} or {key: GUID}."),
        key("rate", Form::Object(&RATE), "Our share of the API's limits."),
    ],
    ..Shape::EMPTY
};

/// `rate`.
pub(super) static RATE: Shape = Shape {
    name: "rate",
    about: "Our share of the API's limits.",
    keys: &[key("list", Form::Text, "Requests to the lists of items and jobs, such as 50/min (the default; the tenant has 100/min).")],
    ..Shape::EMPTY
};

const DEFAULT_FOLDER: Form = Form::AnyOf(&[Form::Text, Form::Object(&FOLDER)]);

/// A folder by id or key.
pub(super) static FOLDER: Shape = Shape {
    name: "folder",
    about: "A folder by its id or its key.",
    keys: &[key("id", Form::Integer(1..=i64::MAX as u64), "Its id."), key("key", Form::Text, "Its key, a GUID.")],
    one_of: &["id", "key"],
    ..Shape::EMPTY
};

/// `auth`.
pub(super) static AUTH: Shape = Shape {
    name: "auth",
    about: "How to authenticate: exactly one way.",
    keys: &[
        key("client_credentials", Form::Object(&CLIENT_CREDENTIALS), "An external application with application scopes."),
        key("token", A_SECRET, "A personal access token."),
        key("user_key", Form::Object(&USER_KEY), "A user key of the older cloud."),
        key("password", Form::Object(&PASSWORD), "Name and password; not on Automation Cloud."),
    ],
    one_of: &["client_credentials", "token", "user_key", "password"],
    ..Shape::EMPTY
};

/// `client_credentials`.
pub(super) static CLIENT_CREDENTIALS: Shape = Shape {
    name: "client-credentials",
    about: "An external application with application scopes.",
    keys: &[
        key("client_id", Form::Text, "The app id.").required(),
        key("client_secret", A_SECRET, "The app secret.").required(),
        key("scope", TEXTS, "Its scopes, such as OR.Queues OR.Jobs.").required(),
        key("token_url", Form::Text, "In place of the edition's own."),
    ],
    ..Shape::EMPTY
};

/// `user_key`.
pub(super) static USER_KEY: Shape = Shape {
    name: "user-key",
    about: "A user key of the older cloud.",
    keys: &[
        key("client_id", Form::Text, "The client id.").required(),
        key("refresh_token", A_SECRET, "The user key.").required(),
        key("token_url", Form::Text, "In place of https://account.uipath.com/oauth/token."),
    ],
    ..Shape::EMPTY
};

/// `password`.
pub(super) static PASSWORD: Shape = Shape {
    name: "password",
    about: "Name and password.",
    keys: &[key("username", Form::Text, "User name or e-mail.").required(), key("password", A_SECRET, "The password.").required()],
    ..Shape::EMPTY
};

/// A source.
pub(super) static SOURCE: Shape = Shape {
    name: "source",
    about: "Where events come in.",
    keys: &[
        key("webhook", Form::Object(&WEBHOOK), "Deliveries of webhooks."),
        key("poll", POLLED, "Changes read by asking for them: Orchestrator's, or those of a trigger of a connector."),
        key("watch", Form::Object(&WATCH), "What should happen, and by when: an event when it does not."),
    ],
    one_of: &["webhook", "poll", "watch"],
    ..Shape::EMPTY
};

const POLLED: Form = Form::AnyOf(&[Form::Object(&POLL), Form::Object(&POLL_TRIGGER)]);

/// A watched source.
pub(super) static WATCH: Shape = Shape {
    name: "watch",
    about: "What should happen, and by when: an event when it does not.",
    keys: &[
        key("stuck", Form::Object(&STUCK), "An event `tripline.item.stuck` for an item that stays too long where it is."),
        key("absent", Form::Object(&ABSENT), "An event `tripline.absent` when others do not come."),
    ],
    one_of: &["stuck", "absent"],
    ..Shape::EMPTY
};

/// `stuck`.
pub(super) static STUCK: Shape = Shape {
    name: "stuck",
    about: "Items that stay too long where they are.",
    keys: &[
        key("queue", Form::Text, "The queue's name.").required(),
        key("longer_than", Form::Duration, "How long an item may stay.").required(),
        key("status", Form::Words(&["InProgress", "New"]), "Where; InProgress by default."),
        key("orchestrator", Form::Text, "Whose queue it is; default: the only one."),
        key("folder", DEFAULT_FOLDER, "Only items in this folder."),
    ],
    ..Shape::EMPTY
};

/// `absent`.
pub(super) static ABSENT: Shape = Shape {
    name: "absent",
    about: "Events that do not come.",
    keys: &[
        key("events", TEXTS, "Types of the events: any of them will do.").required(),
        key("match", Form::Any, "What their data must be: a pattern as in rules."),
        key("within", Form::Duration, "In how long one must come.").required(),
        key("at", Form::Text, "When it is looked, once a day: `06:00 Europe/Berlin`."),
        key("every", Form::Duration, "When it is looked, again and again. Without `at` and `every`: as soon as nothing came for so long."),
        key("orchestrator", Form::Text, "Only events of this one."),
    ],
    ..Shape::EMPTY
};

const FOLDERS: Form = Form::AnyOf(&[Form::Words(&["all"]), Form::OneOrMore(&DEFAULT_FOLDER)]);

/// A polled source.
pub(super) static POLL: Shape = Shape {
    name: "poll",
    about: "Changes read by asking for them.",
    keys: &[
        key("orchestrator", Form::Text, "Which one is read; default: the only one."),
        key("kind", Form::Words(&["queue_items", "jobs"]), "What is read.").required(),
        key("folders", FOLDERS, "Which folders, or `all`; default: the orchestrator's folder."),
        key("queues", TEXTS, "Which queues, or `all` (the default)."),
        key("every", Form::Duration, "How often at least; 10s by default."),
        key("at", Form::Text, "Once a day in place of `every`: a time and a zone, `06:00 Europe/Berlin`."),
        key("look_back", Form::Duration, "How far back the first start looks; 1h by default."),
        key("reconciles", Form::Text, "The webhook whose gaps it closes: its events count as that source's in rules."),
        key("webhook_within", Form::Duration, "With `reconciles`: a change that no webhook has brought by then was missed; 2m by default."),
    ],
    ..Shape::EMPTY
};

/// A source that polls a trigger of a connector.
pub(super) static POLL_TRIGGER: Shape = Shape {
    name: "poll-trigger",
    about: "Changes read through a trigger of a connector.",
    keys: &[
        key("connector", Form::Text, "The connector.").required(),
        key("trigger", Form::Text, "Its trigger.").required(),
        key("every", Form::Duration, "How often; 1m by default."),
        key("look_back", Form::Duration, "How far back the first start looks; 0s by default: what is there brings no events."),
    ],
    ..Shape::EMPTY
};

/// A webhook source.
pub(super) static WEBHOOK: Shape = Shape {
    name: "webhook",
    about: "Deliveries of webhooks: Orchestrator's or another service's.",
    keys: &[
        key("orchestrator", Form::Text, "Whose events these are; default: the only one."),
        key("path", Form::Text, "The ingress path; /hooks/NAME by default."),
        key("secrets", Form::OneOrMore(&A_SECRET), "Secrets of the webhook; any may verify."),
        key("allow_from", TEXTS, "Networks that may deliver; everybody by default."),
        key("trusted_proxies", Form::Integer(0..=TRUSTED_PROXIES_MAX), "How many X-Forwarded-For hops are yours; 0 by default."),
        key("insecure_unsigned", Form::Bool, "No signature is asked for; only rules that name the source see its events."),
        key("register", Form::Bool, "Keep it registered and enabled in Orchestrator by API."),
        key("subscribe", Form::Words(SUBSCRIBE), "Which events it asks for: those that rules name (the default), or all."),
        key("scheme", Form::Words(&Scheme::NAMES), "How deliveries are signed, and whose events they are; orchestrator by default."),
        deliveries::TYPE,
        deliveries::ID,
        deliveries::TIME,
        deliveries::HEADER,
        deliveries::ALGORITHM,
        deliveries::ENCODING,
        deliveries::PREFIX,
        deliveries::CONTENT,
        deliveries::TIMESTAMP,
        deliveries::TOLERATED,
        key("connector", Form::Text, "In place of `scheme`: the connector whose trigger says how deliveries are signed and read."),
        key("trigger", Form::Text, "With `connector`: its trigger."),
    ],
    ..Shape::EMPTY
};
