//! Writes an explanation, as text or as JSON.

use serde_json::json;

use super::remedies::remedy;
use crate::cli::failure::Failure;
use crate::gateway::explain::explanation::{CheckRecord, CheckResult, Explanation};

pub(super) fn json(explanation: &Explanation, notes: &[String]) -> Result<(), Failure> {
    let source = explanation
        .source
        .as_ref()
        .map(|source| json!({"id": source.id.as_str(), "enforcement": source.enforcement.as_str()}));
    let checks = explanation.checks.iter().map(|record| {
        json!({"name": record.check.as_str(), "result": record.result.as_str(), "detail": record.detail})
    });
    let report = json!({
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
    });
    let text = serde_json::to_string_pretty(&report).map_err(Failure::internal)?;
    println!("{text}");
    Ok(())
}

pub(super) fn text(explanation: &Explanation, notes: &[String]) {
    let reason = explanation.reason.map(|reason| format!(" {}", reason.as_str()));
    let sentence = explanation
        .sentence
        .as_ref()
        .map(|sentence| format!(": {sentence}"));
    println!(
        "{}{}{}",
        explanation.outcome.as_str(),
        reason.unwrap_or_default(),
        sentence.unwrap_or_default()
    );
    if let Some(reason) = explanation.reason {
        println!("  do       {}", remedy(reason));
    }
    let api = explanation.api.as_deref().unwrap_or("none");
    println!("  api      {api}");
    match &explanation.source {
        Some(source) => println!(
            "  source   {}, enforcement {}",
            source.id,
            source.enforcement.as_str()
        ),
        None => println!("  source   none"),
    }
    match &explanation.app {
        Some(app) => println!("  app      {app}"),
        None => println!("  app      none verified"),
    }
    if let Some(version) = explanation.policy_version {
        println!("  policy   version {version}");
    }
    println!();
    explanation.checks.iter().for_each(line);
    for note in notes {
        println!("note: {note}");
    }
}

fn line(record: &CheckRecord) {
    let result = match record.result {
        CheckResult::Fail => "FAIL",
        other => other.as_str(),
    };
    println!("  {result:<8} {:<11} {}", record.check.as_str(), record.detail);
}
