//! `call` steps: an operation of a connector is rendered, sent, and its answer judged.

use serde_json::{Map, Value};

use super::Targets;
use super::attempt::{Answered, Order};
use crate::calls::{Asked, OF_A_STEP};
use crate::clock::Clock;
use crate::connectors::{Access, Caller, Connector, Operation};
use crate::expr::{At, ExpressionFault};
use crate::orchestrator::CallTrace;
use crate::rules::OperationCall;
use crate::runs::{Class, Failure, Outcome, Who};

/// Sends the request; every attempt of the step carries the same key.
pub(super) async fn call(targets: &Targets, order: &Order, call: &OperationCall, clock: &Clock) -> Answered {
    let (trace, result) = ask(targets, order, call, &call.operation, &call.input, call.all, clock).await;
    Answered::new(trace, result.map_or_else(Outcome::Failed, |value| Outcome::Done { value }))
}

/// Finds out what became of a request whose outcome is unknown.
pub(super) async fn look_up(targets: &Targets, order: &Order, call: &OperationCall, clock: &Clock) -> Answered {
    let (trace, outcome) = found(targets, order, call, clock).await;
    Answered::new(trace, outcome.unwrap_or_else(Outcome::NotLookedUp))
}

async fn found(targets: &Targets, order: &Order, call: &OperationCall, clock: &Clock) -> (CallTrace, Result<Outcome, Failure>) {
    let (connector, own) = (&call.connector, &call.operation);
    let prepared = access(targets, connector).and_then(|access| {
        let input = own.input(&call.input, access.config(), &At::root("with")).map_err(|fault| unfit(access, &fault))?;
        let asked = connector.lookup_input(own, &input, access.config(), clock.now()).map_err(|fault| unfit(access, &fault))?;
        let lookup = own.lookup.as_ref().and_then(|lookup| connector.operations.get(&lookup.operation));
        let lookup = lookup.ok_or_else(|| refused(format!("`{}` has no `lookup`", own.name)))?;
        Ok((access, input, asked, lookup))
    });
    let (access, input, asked, lookup) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return (CallTrace::default(), Err(failure)),
    };
    // One request: its operation asks for what is looked for.
    let (trace, result) = ask(targets, order, call, lookup, &asked, false, clock).await;
    let judged = result.and_then(|value| {
        let found = connector.found(own, &value, &input, access.config(), clock.now());
        match found.map_err(|why| refused(format!("`lookup` of `{}`: {}", own.name, access.mask(&why))))? {
            Some(value) => Ok(Outcome::Found { value }),
            None => Ok(Outcome::NotFound),
        }
    });
    (trace, judged)
}

/// Calls one operation, for `all` its pages or for the first, and judges its answer.
async fn ask(
    targets: &Targets,
    order: &Order,
    call: &OperationCall,
    operation: &Operation,
    said: &Map<String, Value>,
    all: bool,
    clock: &Clock,
) -> (CallTrace, Result<Value, Failure>) {
    let connector = &call.connector;
    let prepared = access(targets, connector).and_then(|access| {
        let calls = targets.calls.as_ref().ok_or_else(|| refused("there is no client for `call` steps".to_owned()))?;
        let caller = Caller {
            run: order.run.to_string(),
            rule: order.rule.to_string(),
            idempotency_key: Some(format!("{}:{}", order.run, order.label)),
            now: clock.now(),
        };
        let input = operation.input(said, access.config(), &At::root("with")).map_err(|fault| unfit(access, &fault))?;
        let request = connector.request(operation, &input, access.config(), &caller).map_err(|fault| unfit(access, &fault))?;
        Ok((access, calls, input, request))
    });
    let (access, calls, input, request) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return (CallTrace::default(), Err(failure)),
    };
    let asked = Asked { connector, operation, access, input: &input, timeout: order.timeout, who: Who::Action };
    if all {
        return Box::pin(calls.gather(asked, request, OF_A_STEP)).await;
    }
    let said = Box::pin(calls.carry_out(&asked, &request)).await;
    (said.trace, said.result)
}

/// The values that a connector is used with now.
fn access<'t>(targets: &'t Targets, connector: &Connector) -> Result<&'t Access, Failure> {
    targets.connectors.get(&connector.name).map(|access| &**access).ok_or_else(|| {
        refused(format!("connector `{}` is not in the configuration any more: put its file back, or discard the run", connector.name))
    })
}

fn unfit(access: &Access, fault: &ExpressionFault) -> Failure {
    refused(access.mask(&fault.to_string()))
}

fn refused(message: String) -> Failure {
    Failure { class: Class::Refused, status: None, message, retry_after: None }
}
