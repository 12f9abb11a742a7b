//! What a connection's requests go through before they are routed and after they are answered: their memory is
//! reserved, their bodies are counted as they arrive, and their responses as long as the client has not taken them.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::body::has_media_type;
use super::console;
use super::memory::{CHANGE_RESPONSE_BYTES, MemoryBudget, REQUEST_BYTES, Reservation, SMALL_RESPONSE_BYTES};
use super::routes::is_for_clients;
use crate::control::bad_request::BODY_BYTES_MAX;
use crate::control::bad_request::BadRequest;
use crate::control::bad_request::Exhausted;
use crate::control::error::ControlError;
use crate::control::tokens::error::TokenError;

/// What each byte of a JSON body takes while its request is handled: it is read once, and its values are far larger
/// than their texts.
const JSON_FACTOR: usize = 16;

/// The same of any other body: it is read once, and its fields are copied out of it.
const FORM_FACTOR: usize = 3;

/// What a header field takes besides its text.
const FIELD_BYTES: usize = 160;

/// Reserved for a response whose length nobody knows, an export: the part being written, the one that waits for the
/// client, and the one being read from the store.
const STREAM_BYTES: usize = 1 << 20;

/// How long the rest of a rejected body is waited for, so that its sender reads the rejection.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// A request that was rejected without a response: the client reads none.
#[derive(Debug, thiserror::Error)]
#[error("the client has not read earlier rejections")]
pub(crate) struct Unanswered(#[source] h2::Error);

impl Unanswered {
    fn new() -> Self {
        Self(h2::Reason::ENHANCE_YOUR_CALM.into())
    }
}

/// A request that is being answered. A type of its own: the compiler cannot see that a connection of boxed futures is
/// `Send` where the box's lifetime is in its type.
pub(crate) struct Answering(BoxFuture<'static, Result<Response, Unanswered>>);

impl Answering {
    pub fn new(answer: impl Future<Output = Result<Response, Unanswered>> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }
}

impl Future for Answering {
    type Output = Result<Response, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// Answers a request within the memory budget. `routed` is what serves it.
///
/// Memory is reserved before this returns: a connection hands over as many requests as it has streams before any of
/// them is polled, and of one that is rejected only a few words are left then.
///
/// # Errors
/// [`Unanswered`]: over HTTP/2 its stream is reset, over HTTP/1 its connection ends.
pub(crate) fn serve<F>(
    budget: &Arc<MemoryBudget>,
    client: IpAddr,
    request: Request<Incoming>,
    routed: impl FnOnce(Request<Body>) -> F + Send + 'static,
) -> Answering
where
    F: Future<Output = Response> + Send + 'static,
{
    let path = request.uri().path();
    let is_change = !request.method().is_safe() && !is_for_clients(path);
    let mut wanted = REQUEST_BYTES + head_bytes(&request);
    if is_change {
        wanted += CHANGE_RESPONSE_BYTES;
    }
    let form = RefusalForm::of(path);
    let keeps_rest = request.version() <= Version::HTTP_11;
    let reservation = match budget.reserve(client, wanted) {
        Ok(reservation) => Arc::new(reservation),
        Err(bound) => {
            let rest = keeps_rest.then(|| request.into_body());
            return reject(budget, client, bound, form, rest);
        }
    };
    let rest = Rest::default();
    let is_json = has_media_type(request.headers(), "application/json");
    let mut request = request.map(|incoming| {
        Body::new(MeteredBody {
            incoming: Some(incoming),
            reservation: Arc::clone(&reservation),
            factor: if is_json { JSON_FACTOR } else { FORM_FACTOR },
            rest: keeps_rest.then(|| Arc::clone(&rest)),
        })
    });
    request.extensions_mut().insert(Arc::clone(&reservation));
    let budget = Arc::clone(budget);
    Answering::new(async move {
        // Boxed: what waits for a client to read its response is as large as its largest moment otherwise.
        let response = Box::pin(routed(request)).await;
        let rest = rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let length = response.body().size_hint().exact();
        let bytes = length.map_or(STREAM_BYTES, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let wanted = REQUEST_BYTES.saturating_add(bytes.saturating_sub(SMALL_RESPONSE_BYTES));
        let changed = is_change && response.status().is_success();
        if let Err(bound) = reservation.resize(wanted)
            // What was done is said, in any case: the most that a change answers was reserved before it was made.
            && !changed
        {
            drop((response, reservation));
            return reject(&budget, client, bound, form, rest).await;
        }
        discard(rest).await;
        Ok(response.map(|body| MeteredResponse::body(body, reservation)))
    })
}

/// Answers that the budget or the client's share of it is used up.
fn reject(
    budget: &Arc<MemoryBudget>,
    client: IpAddr,
    bound: Exhausted,
    form: RefusalForm,
    rest: Option<Incoming>,
) -> Answering {
    budget.count_rejection(bound);
    let Ok(reservation) = budget.reserve_rejection(client) else {
        return Answering::new(std::future::ready(Err(Unanswered::new())));
    };
    Answering::new(async move {
        discard(rest).await;
        let response = form.refusal(BadRequest::Exhausted(bound)).await;
        Ok(response.map(|body| MeteredResponse::body(body, Arc::new(reservation))))
    })
}

/// The form that a path answers in.
#[derive(Clone, Copy)]
pub(crate) enum RefusalForm {
    OAuth,
    Page,
    Problem,
}

impl RefusalForm {
    /// The one of a path.
    pub fn of(path: &str) -> Self {
        if is_for_clients(path) {
            Self::OAuth
        } else if path.starts_with("/console") {
            Self::Page
        } else {
            Self::Problem
        }
    }

    /// A refusal in this form.
    pub async fn refusal(self, fault: BadRequest) -> Response {
        match self {
            Self::OAuth => TokenError::Unreadable(fault).into_response(),
            Self::Page => console::refusal(fault).await,
            Self::Problem => ControlError::Request(fault).into_response(),
        }
    }
}

/// What a request's head takes.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri().path_and_query();
    let uri = uri.map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    fields.fold(uri, |sum, (name, value)| {
        sum + name.as_str().len() + value.len() + FIELD_BYTES
    })
}

/// Reads the rest of a body over HTTP/1 and keeps nothing of it: a connection that is closed with bytes unread may
/// lose the response on its way. One whose sender is slow, or waits to be asked, is closed all the same.
async fn discard(rest: Option<Incoming>) {
    let Some(mut rest) = rest else { return };
    let reading = async {
        let mut left = BODY_BYTES_MAX;
        while let Some(Ok(frame)) = rest.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(after) => left = after,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}

/// The rest of a request's body, which nobody reads any more.
type Rest = Arc<Mutex<Option<Incoming>>>;

/// A request's body, counted as it arrives.
struct MeteredBody {
    /// None once it was given up.
    incoming: Option<Incoming>,
    reservation: Arc<Reservation>,
    factor: usize,
    /// Where the rest goes when it is given up, over HTTP/1.
    rest: Option<Rest>,
}

impl MeteredBody {
    fn give_up(&mut self, bound: Exhausted) -> axum::Error {
        let incoming = self.incoming.take();
        if let Some(rest) = &self.rest {
            *rest.lock().unwrap_or_else(PoisonError::into_inner) = incoming;
        }
        self.reservation.count_rejection(bound);
        axum::Error::new(bound)
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Some(polled) = ready!(Pin::new(incoming).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = match polled {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        // A report that is larger than a client's share is read whole before anything is made of it.
        let factor = if self.reservation.is_shared() {
            1
        } else {
            self.factor
        };
        match self.reservation.grow(bytes.saturating_mul(factor)) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(bound) => {
                drop(frame);
                Poll::Ready(Some(Err(self.give_up(bound))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.as_ref();
        incoming.map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// A response's body, reserved until the last part of it was written to the client's connection.
struct MeteredResponse {
    body: Body,
    reservation: Arc<Reservation>,
}

impl MeteredResponse {
    fn body(body: Body, reservation: Arc<Reservation>) -> Body {
        Body::new(Self { body, reservation })
    }
}

impl HttpBody for MeteredResponse {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let reservation = &self.reservation;
        Poll::Ready(polled.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    Bytes::from_owner(Unwritten {
                        bytes,
                        _reservation: Arc::clone(reservation),
                    })
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of a response that waits to be written. Dropped when its last byte was.
struct Unwritten {
    bytes: Bytes,
    _reservation: Arc<Reservation>,
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
