//! Notes a denial for `explain --request-id`, where the admin socket is there to ask for it.

use super::known_facts::Denied;
use super::request::{Gateway, Outcome};
use crate::gateway::explain::denials::DenialRecord;
use crate::gateway::explain::explanation;
use crate::gateway::explain::explanation::Explanation;
use crate::gateway::explain::recorder::Recorder;
use crate::gateway::observe::access_record::shown_path;
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::wire::session::Session;

impl Gateway {
    /// Notes a denial, and answers it. `watched` saw the decision, if there was one.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        api: Option<usize>,
        denied: Denied,
        watched: Option<Recorder>,
    ) -> Outcome {
        if let Some(denials) = &self.denials {
            let (recorder, refusal) = (watched.unwrap_or_default(), &denied.refusal);
            let request = session.req_header();
            let sentence = refusal.detail.as_deref().unwrap_or(refusal.reason.description());
            denials.add(DenialRecord {
                request_id: client.request_id.clone(),
                at: self.clock.now(),
                client: client.address,
                method: request.method.as_str().to_owned(),
                path: shown_path(&String::from_utf8_lossy(request.raw_path())),
                explanation: Explanation {
                    outcome: explanation::Outcome::Deny,
                    reason: Some(refusal.reason),
                    sentence: Some(sentence.to_owned()),
                    policy_version: self.policy.load().as_ref().map(|policy| policy.version()),
                    api: api.and_then(|at| self.apis.get(at)).map(|api| api.name.clone()),
                    source: recorder.source(),
                    app: recorder.app(),
                    checks: recorder.checks(),
                    lacks_keys_of: None,
                },
            });
        }
        self.deny(session, client, api, denied).await
    }
}
