//! A YAML text as a tree of values, each with its place: for explaining a file that its types cannot read.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// The most values of one text. A larger one is explained by its first problem alone.
const NODES_MAX: usize = 100_000;

/// The deepest nesting of one text.
const DEPTH_MAX: usize = 64;

/// The key that copies another section into its own (YAML 1.1). A text with one is explained by its first problem.
const MERGE: &str = "<<";

/// A value's number in its tree.
pub(crate) type NodeId = usize;

/// Line and column, from 1.
pub(crate) type Place = (u64, u64);

/// A whole text.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    root: NodeId,
    /// Keys that stand in their section for the second time.
    pub(super) repeated: Vec<NodeId>,
}

/// One value.
pub(crate) struct Node {
    pub(crate) place: Place,
    /// The place behind its last character.
    pub(super) end: Place,
    pub(super) value: Value,
}

pub(super) enum Value {
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<NodeId>),
    /// Pairs of key and value. Of repeated keys the first.
    Section(Vec<(NodeId, NodeId)>),
}

/// A list or section that has not ended yet.
struct Open {
    id: NodeId,
    anchor: usize,
    children: Vec<NodeId>,
    is_section: bool,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, NodeId>,
    root: Option<NodeId>,
    repeated: Vec<NodeId>,
}

impl Tree {
    /// Reads a text; `None` where it is no YAML, or too large or too intricate to be explained value by value.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.ok()?;
            builder.event(event, &span)?;
        }
        Some(Self {
            root: builder.root?,
            nodes: builder.nodes,
            repeated: builder.repeated,
        })
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The text of a scalar.
    pub(super) fn scalar(&self, id: NodeId) -> Option<&str> {
        match &self.node(id)?.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The scalars of the tree, each with whether it is a key.
    pub(super) fn scalars(&self) -> impl Iterator<Item = (&Node, &str, bool)> {
        let mut keys = vec![false; self.nodes.len()];
        for node in &self.nodes {
            if let Value::Section(pairs) = &node.value {
                for (key, _) in pairs {
                    if let Some(is_key) = keys.get_mut(*key) {
                        *is_key = true;
                    }
                }
            }
        }
        self.nodes.iter().zip(keys).filter_map(|(node, is_key)| {
            let Value::Scalar { text, .. } = &node.value else {
                return None;
            };
            Some((node, text.as_str(), is_key))
        })
    }

    /// Where the value of each key stands: `gateway.listeners[0].address` and its place.
    pub(crate) fn places(&self) -> BTreeMap<String, Place> {
        let mut places = BTreeMap::new();
        let mut pending = vec![(self.root, String::new(), 0)];
        while let Some((id, path, depth)) = pending.pop() {
            let Some(node) = self.node(id) else { continue };
            if places.len() >= NODES_MAX || depth > DEPTH_MAX {
                break;
            }
            match &node.value {
                Value::Scalar { .. } => {}
                Value::List(items) => {
                    for (at, item) in items.iter().enumerate() {
                        pending.push((*item, format!("{path}[{at}]"), depth + 1));
                    }
                }
                Value::Section(pairs) => {
                    for (key, value) in pairs {
                        let name = self.scalar(*key).unwrap_or_default();
                        let dot = if path.is_empty() { "" } else { "." };
                        pending.push((*value, format!("{path}{dot}{name}"), depth + 1));
                    }
                }
            }
            places.insert(path, node.place);
        }
        places
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => return None,
            Event::Scalar(text, style, anchor, tag) => {
                let value = Value::Scalar {
                    is_plain: style == ScalarStyle::Plain && tag.is_none(),
                    text: text.into_owned(),
                };
                let id = self.add(span, value)?;
                self.close(id, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.begin(span, anchor, false)?,
            Event::MappingStart(_, anchor, _) => self.begin(span, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
            Event::Alias(anchor) => {
                let id = *self.anchors.get(&anchor)?;
                self.close(id, 0);
            }
            Event::UnresolvedAlias(_) => return None,
            _ => {}
        }
        Some(())
    }

    fn add(&mut self, span: &Span, value: Value) -> Option<NodeId> {
        if self.nodes.len() >= NODES_MAX {
            return None;
        }
        let place = |line: usize, column: usize| (line as u64, column as u64 + 1);
        self.nodes.push(Node {
            place: place(span.start.line(), span.start.col()),
            end: place(span.end.line(), span.end.col()),
            value,
        });
        Some(self.nodes.len() - 1)
    }

    fn begin(&mut self, span: &Span, anchor: usize, is_section: bool) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            return None;
        }
        let id = self.add(span, Value::List(Vec::new()))?;
        self.open.push(Open {
            id,
            anchor,
            children: Vec::new(),
            is_section,
        });
        Some(())
    }

    fn end(&mut self, span: &Span) -> Option<()> {
        let open = self.open.pop()?;
        let value = match open.is_section {
            false => Value::List(open.children),
            true => self.section(&open.children)?,
        };
        let node = self.nodes.get_mut(open.id)?;
        node.value = value;
        node.end = (span.end.line() as u64, span.end.col() as u64 + 1);
        self.close(open.id, open.anchor);
        Some(())
    }

    fn section(&mut self, children: &[NodeId]) -> Option<Value> {
        let mut pairs: Vec<(NodeId, NodeId)> = Vec::new();
        let mut seen = BTreeMap::new();
        for pair in children.chunks_exact(2) {
            let [key, value] = *pair else { return None };
            let Some(Value::Scalar { text, .. }) = self.nodes.get(key).map(|node| &node.value) else {
                return None;
            };
            if text == MERGE {
                return None;
            }
            match seen.insert(text.clone(), key) {
                Some(_) => self.repeated.push(key),
                None => pairs.push((key, value)),
            }
        }
        Some(Value::Section(pairs))
    }

    /// Puts a finished value into what is open.
    fn close(&mut self, id: NodeId, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(id),
            None => self.root = Some(id),
        }
    }
}
