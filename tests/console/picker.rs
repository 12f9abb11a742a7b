//! The sources of a role are searched by name and selected, without script.

use serde_json::{Value, json};

use super::support::product::{Env, Quickstart, quickstart_data};
use super::visitor::{Visitor, hidden, text};

/// Makes sources of a kind, and answers their ids.
fn sources(env: &Env, prefix: &str, kind: &str, count: usize) -> Vec<String> {
    let made = (0..count).map(|number| {
        let body = json!({"name": format!("{prefix} {number}"), "kind": kind});
        env.change("POST", "/sources", &body)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    made.collect()
}

/// The boxes of a page that belong to a role: the id of each source, and whether it is ticked.
fn boxes(page: &str, role: &str) -> Vec<(String, bool)> {
    let inputs = page.split("<input ").skip(1);
    let inputs = inputs.map(|rest| rest.split('>').next().unwrap());
    let mark = format!("name=\"pick.{role}.");
    inputs
        .filter_map(|input| {
            let id = input.split(&mark).nth(1)?.split('"').next()?;
            Some((id.to_owned(), input.ends_with(" checked")))
        })
        .collect()
}

fn ticked(page: &str, role: &str) -> Vec<String> {
    let boxes = boxes(page, role).into_iter();
    boxes.filter(|(_, ticked)| *ticked).map(|(id, _)| id).collect()
}

/// What the roles of a member are by the management API.
fn listed(env: &Env, email: &str) -> Vec<String> {
    let members = env.change("GET", "/members", &Value::Null);
    let member = members["items"].as_array().unwrap().iter();
    let member = member.clone().find(|member| member["email"] == email).unwrap();
    let ids = member["roles"][0]["resources"].as_array().unwrap().iter();
    let mut ids: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn selected_sources_are_kept_over_searches() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut web = sources(env, "Pick", "nodejs", 22);
    web.sort();
    let hook = sources(env, "Pick hook", "source_function", 1);
    let mut owner = Visitor::owner(env);
    let path = format!("/console/w/{}/members/invite", env.get("WORKSPACE_ID"));
    let csrf = owner.csrf(&path);
    let role = "source_admin";
    let base = [
        ("csrf", csrf.as_str()),
        ("email", "picked@roles.example"),
        ("role.source_admin", "on"),
        ("which.source_admin", "listed"),
        ("q.source_admin", "pIcK"),
    ];
    let mut send = |more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> = base.iter().chain(more).copied().collect();
        let answer = owner.post(&path, &fields);
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        text(&answer)
    };
    let page = send(&[("find", role)]);
    let found: Vec<String> = boxes(&page, role).into_iter().map(|(id, _)| id).collect();
    assert_eq!(
        found,
        web[..20],
        "by name, in letters of either case, and no function"
    );
    assert!(ticked(&page, role).is_empty());
    assert!(
        page.contains("value=\"picked@roles.example\""),
        "what was typed stays"
    );
    let functions = boxes(&page, "function_admin");
    assert!(functions.iter().any(|(id, _)| *id == hook[0]));
    assert!(!functions.iter().any(|(id, _)| web.contains(id)));

    // What is ticked stays so over further pages and searches, also by the Enter key.
    let [first, last] = [&web[1], &web[21]].map(|id| format!("pick.{role}.{id}"));
    let page = send(&[("more", role), (&first, "on"), ("last.source_admin", &web[19])]);
    assert_eq!(ticked(&page, role), [web[1].clone()]);
    assert!(boxes(&page, role).contains(&(web[21].clone(), false)));
    let page = send(&[("enter", "on"), (&first, "on"), (&last, "on")]);
    let mut both = ticked(&page, role);
    both.sort();
    assert_eq!(both, [web[1].clone(), web[21].clone()]);
    let members = env.change("GET", "/members", &Value::Null);
    assert_eq!(
        members["items"].as_array().unwrap().len(),
        1,
        "nothing is saved yet"
    );

    let page = send(&[(&first, "on"), (&last, "on")]);
    assert!(page.contains("#pci_"), "now it is");
    assert_eq!(
        listed(env, "picked@roles.example"),
        [web[1].clone(), web[21].clone()]
    );
    product.stop();
}

/// The form of a member whose role lists more sources than have boxes.
struct LongList {
    owner: Visitor,
    path: String,
    /// As the page shows it: fields and their values.
    fields: Vec<(String, String)>,
    /// Ids that are ticked, and ids that have no box.
    shown: Vec<String>,
    kept: Vec<String>,
}

const LONG: &str = "long@roles.example";
const ROLE: &str = "source_read_only";

impl LongList {
    fn open(env: &Env, ids: &[String]) -> Self {
        let roles = json!([{"role": ROLE, "resources": ids}]);
        let member = env.change("POST", "/members", &json!({"email": LONG, "roles": roles}));
        let id = member["id"].as_str().unwrap();
        let path = format!("/console/w/{}/members/{id}", env.get("WORKSPACE_ID"));
        let mut owner = Visitor::owner(env);
        let page = text(&owner.get(&path));
        assert!(page.contains(&format!("({} selected)", ids.len())));
        let shown = ticked(&page, ROLE);
        let kept = hidden(&page, &format!("kept.{ROLE}"));
        let mut fields: Vec<(String, String)> = [("role", "on"), ("which", "listed"), ("kept", &kept)]
            .map(|(name, value)| (format!("{name}.{ROLE}"), value.to_owned()))
            .into();
        fields.extend(["csrf", "revision"].map(|name| (name.to_owned(), hidden(&page, name))));
        fields.extend(
            shown
                .iter()
                .map(|id| (format!("pick.{ROLE}.{id}"), "on".to_owned())),
        );
        Self {
            owner,
            path,
            fields,
            shown,
            kept: kept.split(' ').map(str::to_owned).collect(),
        }
    }

    /// Sends the form with further fields. Answers the status and the page.
    fn send(&mut self, more: &[(&str, &str)]) -> (u16, String) {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = fields.chain(more.iter().copied()).collect();
        let answer = self.owner.post(&self.path, &fields);
        (answer.status(), text(&answer))
    }

    fn find(&mut self, name: &str) -> String {
        let (status, page) = self.send(&[("find", ROLE), (&format!("q.{ROLE}"), name)]);
        assert_eq!(status, 200, "{name}");
        page
    }

    fn set(&mut self, name: &str, value: &str) {
        let field = self.fields.iter_mut().find(|(held, _)| held == name);
        value.clone_into(&mut field.unwrap().1);
    }
}

#[test]
fn long_lists_keep_sources_without_a_checkbox() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let made = sources(env, "Kept", "python", 66);
    let mut own = made.clone();
    own.sort();
    let mut form = LongList::open(env, &own);
    assert!(form.shown.len() < 66);
    assert_eq!(form.shown.len() + form.kept.len(), 66);
    // A search that finds one of those without a box gives it one, and it can be taken away.
    let found = form.kept[0].clone();
    let number = made.iter().position(|id| *id == found).unwrap();
    let page = form.find(&format!("Kept {number}"));
    assert!(ticked(&page, ROLE).contains(&found));
    assert!(!hidden(&page, &format!("kept.{ROLE}")).contains(&found));
    assert_eq!(listed(env, LONG), own, "a search saves nothing");

    let taken = form.shown[0].clone();
    form.fields.retain(|(name, _)| !name.ends_with(&taken));
    assert_eq!(form.send(&[]).0, 303);
    own.retain(|id| *id != taken);
    assert_eq!(listed(env, LONG), own);

    // A search is of what was seen, although it has been saved since; and so is what is saved then.
    assert_eq!(hidden(&form.find("Kept"), "revision"), "1");
    assert_eq!(form.send(&[]).0, 409, "changed since");
    form.set("revision", "2");
    let forged = format!("pick.{ROLE}.src_of_nobody");
    let (status, page) = form.send(&[(&forged, "on")]);
    assert_eq!(status, 422);
    assert!(page.contains(&format!("id=\"{ROLE}-error\"")) && page.contains("not in this workspace"));
    assert_eq!(form.send(&[]).0, 303);
    product.stop();
}

#[test]
fn search_text_and_results_are_escaped() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut ids = sources(env, "Kept", "python", 60);
    for name in ["<script>alert(1)</script>\"><b>", "مصدر إلى اليمين"] {
        let made = env.change("POST", "/sources", &json!({"name": name, "kind": "python"}));
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let mut form = LongList::open(env, &ids);
    let long = "x".repeat(10_000);
    for (q, finds) in [
        (
            "<script>",
            "<bdi>&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#62;&#60;b&#62;</bdi>",
        ),
        ("اليمين", "<bdi>مصدر إلى اليمين</bdi>"),
        ("\"><img src=x>", "<bdi>“&#34;&#62;&#60;img src=x&#62;”</bdi>"),
        (long.as_str(), long.as_str()),
    ] {
        let page = form.find(q);
        assert!(page.contains(finds), "{q}: {page}");
        assert!(
            !page.contains("<script>") && !page.contains("<b>") && !page.contains("<img"),
            "{q}"
        );
        assert!(page.len() < 73_000, "{q}: {}", page.len());
    }
    product.stop();
}
