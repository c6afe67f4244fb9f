//! The keys of `auth`.

use crate::yaml::secret::SECRET;
use crate::yaml::shape::{Form, Key, Shape, key};

/// A secret, or a text in which `${config.…}` may stand.
const AUTH_VALUE: Form = Form::AnyOf(&[Form::Object(&SECRET), Form::Text]);
const TEXTS: Form = Form::Map(&Form::Scalar);

/// The names of the ways of authorising.
pub(super) const AUTHS: &[&str] = &["bearer", "basic", "api_key", "oauth2", "hmac"];

/// `auth`.
pub(super) static AUTH: Shape = Shape {
    name: "connector-auth",
    about: "How requests are authorised: exactly one of these.",
    keys: &[
        key("bearer", AUTH_VALUE, "A token, sent as `Authorization: Bearer …`."),
        key("basic", Form::Object(&BASIC), "Name and password."),
        key("api_key", Form::Object(&API_KEY), "A key in a header or in the query."),
        key("oauth2", Form::Object(&OAUTH2), "A token of a token endpoint."),
        key("hmac", Form::Object(&HMAC), "A signature over the request."),
    ],
    one_of: AUTHS,
    ..Shape::EMPTY
};

/// `auth.basic`.
pub(super) static BASIC: Shape = Shape {
    name: "connector-basic",
    about: "Name and password.",
    keys: &[key("username", AUTH_VALUE, "The name.").required(), key("password", AUTH_VALUE, "The password.").required()],
    ..Shape::EMPTY
};

/// `auth.api_key`.
pub(super) static API_KEY: Shape = Shape {
    name: "connector-api-key",
    about: "A key in a header or in the query.",
    keys: &[
        key("in", Form::Words(&["header", "query"]), "Where; header by default."),
        key("name", Form::Text, "The header or parameter.").required(),
        key("value", AUTH_VALUE, "The key, with what the service wants around it.").required(),
    ],
    ..Shape::EMPTY
};

/// `auth.oauth2`.
pub(super) static OAUTH2: Shape = Shape {
    name: "connector-oauth2",
    about: "OAuth 2.0 without a browser: exactly one grant.",
    keys: &[
        key("client_credentials", Form::Object(&OAUTH2_CLIENT), "The client's own rights."),
        key("refresh_token", Form::Object(&OAUTH2_REFRESH), "A user's rights, by a token got before."),
    ],
    one_of: &["client_credentials", "refresh_token"],
    ..Shape::EMPTY
};

const TOKEN_URL: Key = key("token_url", Form::Text, "The token endpoint; only `${config.…}` may stand in it.").required();
const CLIENT_ID: Key = key("client_id", AUTH_VALUE, "The client.").required();
const SCOPE: Key = key("scope", Form::Text, "The scopes, separated by spaces.");
const CLIENT_AUTH: Key = key("client_auth", Form::Words(&["body", "basic"]), "How the client proves itself; body by default.");
const PARAMS: Key = key("params", TEXTS, "Further parameters of the token request.");

/// `auth.oauth2.client_credentials`.
pub(super) static OAUTH2_CLIENT: Shape = Shape {
    name: "connector-client-credentials",
    about: "The grant `client_credentials`.",
    keys: &[TOKEN_URL, CLIENT_ID, key("client_secret", AUTH_VALUE, "The client's secret.").required(), SCOPE, CLIENT_AUTH, PARAMS],
    ..Shape::EMPTY
};

/// `auth.oauth2.refresh_token`.
pub(super) static OAUTH2_REFRESH: Shape = Shape {
    name: "connector-refresh-token",
    about: "The grant `refresh_token`.",
    keys: &[
        TOKEN_URL,
        CLIENT_ID,
        key("client_secret", AUTH_VALUE, "The client's secret; public clients have none."),
        key("refresh_token", AUTH_VALUE, "The token got before.").required(),
        SCOPE,
        CLIENT_AUTH,
        PARAMS,
    ],
    ..Shape::EMPTY
};

/// `auth.hmac`.
pub(super) static HMAC: Shape = Shape {
    name: "connector-hmac",
    about: "A signature over the request.",
    keys: &[
        key("secret", AUTH_VALUE, "The key.").required(),
        key("header", Form::Text, "The header that carries the signature.").required(),
        key("algorithm", Form::Words(&["sha1", "sha256", "sha512"]), "The hash; sha256 by default."),
        key("encoding", Form::Words(&["hex", "base64", "base64url"]), "How the signature is written; hex by default."),
        key("prefix", Form::Text, "What stands before it."),
        key("content", Form::Text, "What is signed; `${request.body}` by default."),
        key("timestamp_header", Form::Text, "The header that carries `timestamp`."),
    ],
    ..Shape::EMPTY
};
