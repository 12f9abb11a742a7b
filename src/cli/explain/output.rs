//! Writes an explanation, as text or as JSON.

use serde_json::{Value, json};

use super::remedies::remedy;
use crate::cli::failure::Failure;
use crate::gateway::explain::explanation::Explanation;

/// An explanation as JSON.
pub(crate) fn report(explanation: &Explanation, notes: &[String]) -> Value {
    let source = explanation
        .source
        .as_ref()
        .map(|source| json!({"id": source.id.as_str(), "enforcement": source.enforcement.as_str()}));
    let checks = explanation.checks.iter().map(|record| {
        json!({"name": record.check.as_str(), "result": record.result.as_str(), "detail": record.detail})
    });
    json!({
        "decision": explanation.outcome.as_str(),
        "reason": explanation.reason.map(|reason| reason.as_str()),
        "description": explanation.sentence,
        "remedy": explanation.reason.map(remedy),
        "policy_version": explanation.policy_version,
        "api": explanation.api,
        "source": source,
        "app": explanation.app.as_ref().map(|app| json!({"id": app.as_str()})),
        "checks": checks.collect::<Vec<_>>(),
        "notes": notes,
    })
}

pub(super) fn json(report: &Value) -> Result<(), Failure> {
    println!(
        "{}",
        serde_json::to_string_pretty(report).map_err(Failure::internal)?
    );
    Ok(())
}

/// The report for people. What it lacks is left out.
pub(super) fn text(report: &Value) {
    let of = |name: &str| report.get(name).and_then(Value::as_str);
    let decision = of("decision").unwrap_or_default();
    let reason = of("reason")
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default();
    let sentence = of("description")
        .map(|sentence| format!(": {sentence}"))
        .unwrap_or_default();
    println!("{decision}{reason}{sentence}");
    if let Some(remedy) = of("remedy") {
        println!("  do       {remedy}");
    }
    if let Some(request) = report.get("request") {
        request_line(request);
    }
    println!("  api      {}", of("api").unwrap_or("none"));
    let inside = |name: &str, member: &str| report.get(name)?.get(member)?.as_str();
    match (inside("source", "id"), inside("source", "enforcement")) {
        (Some(id), Some(enforcement)) => println!("  source   {id}, enforcement {enforcement}"),
        _ => println!("  source   none"),
    }
    println!("  app      {}", inside("app", "id").unwrap_or("none verified"));
    if let Some(version) = report.get("policy_version").and_then(Value::as_u64) {
        println!("  policy   version {version}");
    }
    println!();
    let list = |name: &str| report.get(name).and_then(Value::as_array).into_iter().flatten();
    for check in list("checks") {
        let of = |name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default();
        let result = match of("result") {
            "fail" => "FAIL",
            other => other,
        };
        println!("  {result:<8} {:<11} {}", of("name"), of("detail"));
    }
    for note in list("notes").filter_map(Value::as_str) {
        println!("note: {note}");
    }
}

fn request_line(request: &Value) {
    let of = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or("?");
    let at = request.get("at").and_then(Value::as_i64);
    let at = at.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
    println!(
        "  request  {} {} from {}{at}",
        of("method"),
        of("path"),
        of("client")
    );
}
