//! Routes that describe themselves: handler and description of a path are in one place, and the OpenAPI 3.1 document is
//! generated from them.
//!
//! The schemas come from the types that are read and written, so the document cannot differ from the code.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::control::http::problem::Problem;
use crate::control::plane::Control;

/// The place of schemas in the document.
const SCHEMAS: &str = "/components/schemas";

/// The error statuses of every operation, as problem documents.
const ANY: [(u16, &str); 9] = [
    (400, "Malformed request."),
    (401, "Missing or invalid credential."),
    (408, "The request arrived too slowly."),
    (413, "The body is too large."),
    (422, "A value is invalid; `field` names it."),
    (429, "Too many requests; `Retry-After` says when to retry."),
    (500, "Internal error; nothing was changed."),
    (503, "The database or the gateway does not respond; retry."),
    (507, "The database is full; nothing was changed."),
];

/// One method of a path: its handler and its description.
pub struct Operation {
    method: &'static str,
    route: MethodRouter<Arc<Control>>,
    name: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    request: Option<Shape>,
    answer: Answer,
    tagged: bool,
    /// Whether it needs no credential.
    open: bool,
    /// Whether it needs a session instead of an API token.
    in_session: bool,
}

/// Makes a type's schema.
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The successful response.
enum Answer {
    Nothing,
    Json(StatusCode, Shape),
    /// A page of items.
    Page(Shape),
    Text(&'static [&'static str]),
}

/// The handler of GET.
pub fn get<H: Handler<T, Arc<Control>>, T: 'static>(handler: H) -> Operation {
    Operation::new("get", MethodFilter::GET, handler)
}

/// The handler of POST.
pub fn post<H: Handler<T, Arc<Control>>, T: 'static>(handler: H) -> Operation {
    Operation::new("post", MethodFilter::POST, handler)
}

/// The handler of PUT.
pub fn put<H: Handler<T, Arc<Control>>, T: 'static>(handler: H) -> Operation {
    Operation::new("put", MethodFilter::PUT, handler)
}

/// The handler of PATCH.
pub fn patch<H: Handler<T, Arc<Control>>, T: 'static>(handler: H) -> Operation {
    Operation::new("patch", MethodFilter::PATCH, handler)
}

/// The handler of DELETE.
pub fn delete<H: Handler<T, Arc<Control>>, T: 'static>(handler: H) -> Operation {
    Operation::new("delete", MethodFilter::DELETE, handler)
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Operation {
    fn new<H, T>(method: &'static str, filter: MethodFilter, handler: H) -> Self
    where
        H: Handler<T, Arc<Control>>,
        T: 'static,
    {
        Self {
            method,
            route: on(filter, handler),
            name: "",
            summary: "",
            parameters: Vec::new(),
            request: None,
            answer: Answer::Nothing,
            tagged: false,
            open: false,
            in_session: false,
        }
    }

    /// The operation's ID and its summary.
    pub const fn says(mut self, name: &'static str, summary: &'static str) -> Self {
        self.name = name;
        self.summary = summary;
        self
    }

    /// Reads a JSON body.
    pub fn reads<T: JsonSchema>(mut self) -> Self {
        self.request = Some(shape::<T>);
        self
    }

    /// Answers 200 with a JSON body.
    pub fn shows<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(StatusCode::OK, shape::<T>);
        self
    }

    /// Answers 201 with what was made; a request may be repeated under an `Idempotency-Key`.
    pub fn makes<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(StatusCode::CREATED, shape::<T>);
        self.header(
            "Idempotency-Key",
            "A retry with the same key within a day gets the response of the first request.",
        )
    }

    /// Answers 201 with a JSON body.
    pub fn opens<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(StatusCode::CREATED, shape::<T>);
        self
    }

    /// Answers one page of items.
    pub fn pages<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Page(shape::<T>);
        self.parameters.push(json!({
            "name": "limit", "in": "query", "description": "Items on the page. Default: 50.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 200},
        }));
        self.parameters.push(json!({
            "name": "after", "in": "query", "description": "The `next` of the previous page.",
            "schema": {"type": "string", "maxLength": 128},
        }));
        self
    }

    /// Answers a text of one of these media types.
    pub const fn exports(mut self, kinds: &'static [&'static str]) -> Self {
        self.answer = Answer::Text(kinds);
        self
    }

    /// The answer has an `ETag`.
    pub const fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// The request may name a revision in `If-Match`.
    pub fn guarded(self) -> Self {
        self.header(
            "If-Match",
            "The `ETag` that you read; 412 if the resource has changed since. Without it the change is unconditional.",
        )
    }

    /// Takes a query parameter.
    pub fn query(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "query", "description": description,
            "schema": {"type": "string", "minLength": 1, "maxLength": 254},
        }));
        self
    }

    /// Takes a query parameter that is one of these words.
    pub fn choice(mut self, name: &str, words: &[&str], description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "query", "description": description,
            "schema": {"type": "string", "enum": words},
        }));
        self
    }

    /// It needs no credential.
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// It needs a session instead of an API token.
    pub const fn in_session(mut self) -> Self {
        self.in_session = true;
        self
    }

    fn header(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "header", "description": description,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }));
        self
    }

    fn document(&self, path: &str, schemas: &mut SchemaGenerator) -> Value {
        let mut parameters = path_parameters(path);
        parameters.extend(self.parameters.iter().cloned());
        if self.method != "get" {
            parameters.extend(wait_parameters());
        }
        let mut operation = json!({
            "operationId": self.name,
            "summary": self.summary,
            "tags": [tag(path)],
            "parameters": parameters,
            "responses": self.responses(path, schemas),
        });
        if let Some(shape) = self.request {
            insert(
                &mut operation,
                "requestBody",
                json!({
                    "required": true,
                    "content": {"application/json": {"schema": shape(schemas)}},
                }),
            );
        }
        if self.open {
            insert(&mut operation, "security", json!([]));
        } else if self.in_session {
            insert(&mut operation, "security", json!([{"session": []}]));
        }
        operation
    }

    fn responses(&self, path: &str, schemas: &mut SchemaGenerator) -> Value {
        let problem = |said: &str| {
            json!({
                "description": said,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            })
        };
        let mut responses = Map::new();
        for (status, said) in ANY {
            responses.insert(status.to_string(), problem(said));
        }
        if path.contains('{') || self.open {
            responses.insert("404".to_owned(), problem("Not found, or you may not view it."));
        }
        if !self.open {
            responses.insert("403".to_owned(), problem("Your roles do not allow this."));
        }
        if self.method != "get" {
            if matches!(self.answer, Answer::Nothing) {
                responses.insert(
                    "200".to_owned(),
                    json!({"description": "With `wait=edges`: done, and in force or lapsed at every edge."}),
                );
            }
            responses.insert(
                "202".to_owned(),
                json!({"description": "With `wait=edges`: committed, and not yet in force at every edge."}),
            );
            responses.insert(
                "409".to_owned(),
                problem("Conflict with the current state; `detail` explains it."),
            );
            responses.insert(
                "412".to_owned(),
                problem("The resource has changed since you read it."),
            );
        }
        if self.request.is_some() {
            responses.insert("415".to_owned(), problem("The body is not JSON."));
        }
        let (status, mut well) = match &self.answer {
            Answer::Nothing => (StatusCode::NO_CONTENT, json!({"description": "Done."})),
            Answer::Json(status, shape) => (*status, json_answer(shape(schemas))),
            Answer::Page(shape) => (StatusCode::OK, json_answer(page_of(&shape(schemas)))),
            Answer::Text(kinds) => {
                let kinds = kinds
                    .iter()
                    .map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "string"}})));
                (
                    StatusCode::OK,
                    json!({"description": "Done.", "content": kinds.collect::<Map<_, _>>()}),
                )
            }
        };
        if self.tagged {
            insert(
                &mut well,
                "headers",
                json!({
                    "ETag": {"description": "The revision.", "schema": {"type": "string"}},
                }),
            );
        }
        responses.insert(status.as_u16().to_string(), well);
        Value::Object(responses)
    }
}

/// What every change may be asked for: to wait until it is in force at every edge.
fn wait_parameters() -> [Value; 2] {
    [
        json!({
            "name": "wait", "in": "query", "description": "Waits until the change is in force or lapsed at every edge.",
            "schema": {"type": "string", "enum": ["edges"]},
        }),
        json!({
            "name": "timeout", "in": "query", "description": "The longest wait for the edges; at most 25s.",
            "schema": {"type": "string", "pattern": "^(([1-9][0-9]{0,3})ms|([1-9]|1[0-9]|2[0-5])s)$"},
        }),
    ]
}

fn json_answer(schema: impl Into<Value>) -> Value {
    json!({"description": "Done.", "content": {"application/json": {"schema": schema.into()}}})
}

fn page_of(item: &Schema) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "additionalProperties": false,
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {"type": ["string", "null"], "description": "The `after` of the next page; null on the last page."},
        },
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}

/// The names in braces.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| json!({
            "name": name, "in": "path", "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9._~:@+=|-]+$"},
        }))
        .collect()
}

/// The tag of a path: the collection below the workspace, or the first word.
fn tag(path: &str) -> &str {
    let mut words = path
        .split('/')
        .filter(|part| !part.is_empty() && !part.starts_with('{'));
    let first = words.next().unwrap_or("server");
    words.next().filter(|_| first == "workspaces").unwrap_or(first)
}

/// Routes with their handlers, and the OpenAPI document of them.
pub struct Routes {
    router: Router<Arc<Control>>,
    schemas: SchemaGenerator,
    paths: BTreeMap<String, Map<String, Value>>,
    base: &'static str,
}

impl Routes {
    /// No paths yet. The document names them with `base` in front.
    pub fn under(base: &'static str) -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
        settings
            .transforms
            .push(Box::new(RecursiveTransform(no_unsigned_formats)));
        Self {
            router: Router::new(),
            schemas: settings.into_generator(),
            paths: BTreeMap::new(),
            base,
        }
    }

    /// Adds a path with its methods.
    pub fn at<const N: usize>(mut self, path: &str, operations: [Operation; N]) -> Self {
        let mut served = MethodRouter::new();
        for operation in operations {
            let documented = operation.document(path, &mut self.schemas);
            self.paths
                .entry(format!("{}{path}", self.base))
                .or_default()
                .insert(operation.method.to_owned(), documented);
            served = served.merge(operation.route);
        }
        self.router = self.router.route(path, served);
        self
    }

    /// The router, and the document.
    pub fn finish(mut self, title: &str) -> (Router<Arc<Control>>, Value) {
        self.schemas.subschema_for::<Problem<'_>>();
        let schemas = self.schemas.take_definitions(true);
        let document = json!({
            "openapi": "3.1.0",
            "info": {"title": title, "version": env!("CARGO_PKG_VERSION")},
            "security": [{"apiToken": []}, {"session": []}],
            "paths": self.paths,
            "components": {
                "securitySchemes": {"apiToken": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API token of a member (starts with `pcl_`).",
                }, "session": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-portcullis",
                    "description": "A session. A request that changes something must come from a page of this server, or carry the \
                        CSRF token of the session in `X-CSRF-Token`.",
                }},
                "schemas": schemas,
            },
        });
        (self.router, document)
    }
}

/// JSON Schema has no format `uint64`; `minimum` expresses it.
fn no_unsigned_formats(schema: &mut Schema) {
    if schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.remove("format");
    }
}
