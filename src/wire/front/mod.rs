//! The front door: every HTTP request comes through here, on its way to exactly one wire.
//!
//! In order: preflight, limits, which wire and operation ([`routes`], [`rpc`]), the body, the signature, the
//! access decision, the handler. Routes and operations exist only in tables that carry an [`Access`], so there
//! is no way to a handler without a decision. Whatever is answered, an error too, carries a request id and
//! can be read by browsers of any origin ([`cors`]); a refusal takes the form of the wire it belongs to.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::sigv4::{self, AuthError};
use crate::auth::{Access, Authenticator, Caller, Unauthenticated};
use crate::config::limits::http as limits;

use super::{Inbound, Operation, Params, Refusal, Route};

mod bench;
mod body;
mod cors;
mod gone;
mod rest;
mod routes;
mod rpc;
mod serve;
mod socket;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod upgrade;

pub use bench::BENCH_ROUTES;
pub use rest::{ERROR_TYPE, refuse as refuse_rest};
pub use rpc::{Refuser, RpcWire};
pub use serve::{Listener, ServeOptions, serve};
pub use socket::Socket;
pub use tls::{Certificate, CertificateError, CertificateFiles};
pub use traffic::Traffic;
pub use upgrade::{Links, Origins, Start};

use routes::Router;
use rpc::Mounted;
use target::Target;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Bounds of what a request may be. What goes beyond them is refused before anything is looked up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Names and values of all headers together; beyond: 431.
    pub header_bytes: usize,
    /// Number of headers; beyond: 431.
    pub header_count: usize,
    /// Query of a REST route; beyond: 414. RPC wires may carry a whole call in the query.
    pub rest_query_bytes: usize,
    /// Body of a REST route, or of a request that no wire claims; beyond: 413.
    pub rest_body_bytes: usize,
    /// How long the body may take to arrive; beyond: 408.
    pub body_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: limits::HEADER_BYTES,
            header_count: limits::HEADERS,
            rest_query_bytes: limits::REST_QUERY_BYTES,
            rest_body_bytes: limits::REST_BODY_BYTES,
            body_patience: limits::BODY_PATIENCE,
        }
    }
}

/// One entry of what can be called at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The wire's name.
    pub wire: &'static str,
    /// The operation's name, or the route's pattern.
    pub name: &'static str,
    /// The route's methods; empty for an operation.
    pub methods: &'static [Method],
    /// The service that credential scopes must name.
    pub service: &'static str,
    /// What is asked of the caller.
    pub access: Access,
}

/// A REST route in the table.
struct RestTarget {
    service: &'static str,
    target: Target,
}

/// Everything that can be called, and the way in. Composed once by [`Door::new`], [`Door::rest`] and [`Door::rpc`].
pub struct Door {
    authenticator: Arc<Authenticator>,
    limits: Limits,
    scheme: &'static str,
    router: Router<RestTarget>,
    wires: Vec<Mounted>,
    surface: Vec<Exposed>,
    links: Option<upgrade::Mounted>,
    traffic: Arc<Traffic>,
}

impl Door {
    /// A door with nothing behind it. `scheme` is what URLs that answers hand out begin with. Metrics handles
    /// are made while it is composed, so the recorder must be installed before.
    pub fn new(authenticator: Arc<Authenticator>, limits: Limits, scheme: &'static str) -> Self {
        Self {
            authenticator,
            limits,
            scheme,
            router: Router::new(),
            wires: Vec::new(),
            surface: Vec::new(),
            links: None,
            traffic: Arc::default(),
        }
    }

    /// Adds a table of REST routes, signed for `service`.
    ///
    /// # Panics
    /// If a route of the same shape and method is there already.
    #[must_use]
    pub fn rest<S: Send + Sync + 'static>(
        mut self,
        wire: &'static str,
        service: &'static str,
        state: &Arc<S>,
        routes: &'static [Route<S>],
    ) -> Self {
        for route in routes {
            let target = Target::new(wire, route.path, route.access, state, route.handler);
            let target = RestTarget { service, target };
            self.router.add(route.path, route.methods, target);
            self.surface.push(Exposed {
                wire,
                name: route.path,
                methods: route.methods,
                service,
                access: route.access,
            });
        }
        self
    }

    /// Adds an RPC-style wire with its operations.
    ///
    /// # Panics
    /// If two operations have one name.
    #[must_use]
    pub fn rpc<S: Send + Sync + 'static>(
        mut self,
        wire: impl RpcWire,
        state: &Arc<S>,
        operations: &'static [Operation<S>],
    ) -> Self {
        let mounted = Mounted::new(Box::new(wire), state, operations);
        let (wire, service) = (mounted.wire.name(), mounted.wire.signed_as());
        self.surface
            .extend(mounted.surface().map(|(name, access)| Exposed {
                wire,
                name,
                methods: &[],
                service,
                access,
            }));
        self.wires.push(mounted);
        self
    }

    /// Everything that can be called.
    pub fn surface(&self) -> &[Exposed] {
        &self.surface
    }

    /// The requests in progress.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Answers a request; the whole of actix-web's part is to bring it here.
    pub async fn handle(&self, request: ServiceRequest) -> ServiceResponse {
        self.handle_over(request, self.scheme).await
    }

    /// The same for a request that came over `scheme`.
    async fn handle_over(
        &self,
        mut request: ServiceRequest,
        scheme: &'static str,
    ) -> ServiceResponse {
        let ticket = self.traffic.enter();
        let inbound = Inbound::take(&mut request, scheme);
        let request_id = inbound.request_id;
        let (request, mut payload) = request.into_parts();
        let response = self.answer(inbound, &mut payload).await;
        ServiceResponse::new(request, ticket.answer(Self::sign(response, request_id)))
    }

    /// Hands on a connection that came without HTTP. It ends if nobody takes such connections.
    fn accept(&self, socket: Socket) {
        if let Some(mounted) = &self.links {
            mounted.links.accept(socket);
        }
    }

    /// What every answer carries.
    fn sign(mut response: HttpResponse, request_id: uuid::Uuid) -> HttpResponse {
        let headers = response.headers_mut();
        let mut text = uuid::Uuid::encode_buffer();
        if let Ok(id) = HeaderValue::from_str(request_id.as_hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST_ID, id);
        }
        cors::expose(headers);
        response
    }

    async fn answer(&self, inbound: Inbound, payload: &mut Payload) -> HttpResponse {
        if inbound.method == Method::OPTIONS {
            return cors::preflight(&inbound.headers);
        }
        if !self.headers_fit(&inbound.headers) {
            return rest::refuse(&Refusal::HeadersTooLarge);
        }
        if inbound.names_two_hosts() {
            let text = "The Host header and :authority name different hosts.";
            return rest::refuse(&Refusal::Malformed(text.to_owned()));
        }
        let wire = self.wires.iter().find(|wire| wire.wire.claims(&inbound));
        match wire {
            Some(wire) => self.answer_rpc(wire, inbound, payload).await,
            None => self.answer_rest(inbound, payload).await,
        }
    }

    async fn answer_rpc(
        &self,
        mounted: &Mounted,
        mut inbound: Inbound,
        payload: &mut Payload,
    ) -> HttpResponse {
        let limit = mounted.wire.body_limit_bytes();
        match body::read(&inbound, payload, limit, self.limits.body_patience).await {
            Ok(body) => inbound.body = body,
            Err(refusal) => return mounted.wire.refuser(&inbound)(&refusal),
        }
        self.call_rpc(mounted, inbound, payload).await
    }

    async fn call_rpc(
        &self,
        mounted: &Mounted,
        inbound: Inbound,
        payload: &mut Payload,
    ) -> HttpResponse {
        let refuse = mounted.wire.refuser(&inbound);
        let target = match mounted.find(&inbound) {
            Ok(target) => target,
            Err(refusal) => return refuse(&refusal),
        };
        let service = mounted.wire.signed_as();
        let call = self.call(target, service, inbound, Params::default(), payload);
        let response = call.await.unwrap_or_else(|refusal| refuse(&refusal));
        target.count(&response);
        response
    }

    async fn answer_rest(&self, mut inbound: Inbound, payload: &mut Payload) -> HttpResponse {
        let limit = self.unclaimed_limit(&inbound);
        match body::read(&inbound, payload, limit, self.limits.body_patience).await {
            Ok(body) => inbound.body = body,
            Err(refusal) => return rest::refuse(&refusal),
        }
        // A Query protocol names itself in the form, which had to be read first.
        if !inbound.body.is_empty() && may_be_form(&inbound) {
            // Where there is a route, its body may look like anything, such as a message to a topic.
            let routed = self.router.find(&inbound.method, &inbound.raw_path).is_ok();
            let mut wires = self.wires.iter().filter(|_| !routed);
            if let Some(wire) = wires.find(|wire| wire.wire.claims(&inbound)) {
                return self.call_rpc(wire, inbound, payload).await;
            }
            let limit_bytes = self.limits.rest_body_bytes;
            if inbound.body.len() > limit_bytes {
                return rest::refuse(&Refusal::BodyTooLarge { limit_bytes });
            }
        }
        let (target, params) = match self.find_route(&inbound) {
            Ok(found) => found,
            Err(refusal) => return rest::refuse(&refusal),
        };
        let (service, target) = (target.service, &target.target);
        let call = self.call(target, service, inbound, params, payload);
        let response = call.await.unwrap_or_else(|refusal| rest::refuse(&refusal));
        target.count(&response);
        response
    }

    /// How much is read of a body that no wire has claimed by its head: a form may yet turn out to be for one.
    fn unclaimed_limit(&self, inbound: &Inbound) -> usize {
        let forms = self.wires.iter().map(|wire| wire.wire.form_limit_bytes());
        let longest = forms.max().filter(|_| may_be_form(inbound));
        longest.unwrap_or(0).max(self.limits.rest_body_bytes)
    }

    fn find_route(&self, inbound: &Inbound) -> Result<(&RestTarget, Params), Refusal> {
        if inbound.raw_query.len() > self.limits.rest_query_bytes {
            return Err(Refusal::QueryTooLong {
                limit_bytes: self.limits.rest_query_bytes,
            });
        }
        if let Some(target) = inbound.target() {
            return Err(Refusal::UnknownOperation(target.to_owned()));
        }
        if self
            .links
            .as_ref()
            .is_some_and(|links| links.path == inbound.raw_path)
        {
            return Err(Refusal::UpgradeRequired);
        }
        self.router.find(&inbound.method, &inbound.raw_path)
    }

    /// Signature, decision, handler.
    async fn call(
        &self,
        target: &Target,
        service: &str,
        inbound: Inbound,
        params: Params,
        payload: &mut Payload,
    ) -> Result<HttpResponse, Refusal> {
        let caller = match self.authenticate(&inbound, service).await? {
            Some(caller) => caller,
            None if target.access() == Access::Public => Caller::Anonymous,
            None => return Err(AuthError::MissingAuthentication.into()),
        };
        let grant = target.decide(caller)?;
        let http2 = inbound.http2;
        let handled = target.run(inbound, params, grant);
        if http2 {
            gone::unless_gone(handled, payload).await
        } else {
            handled.await
        }
    }

    async fn authenticate(
        &self,
        inbound: &Inbound,
        service: &str,
    ) -> Result<Option<Caller>, Refusal> {
        let request = sigv4::Request {
            method: inbound.method.as_str(),
            raw_path: &inbound.raw_path,
            raw_query: &inbound.raw_query,
            headers: &inbound.headers,
            authority: inbound.http2.then_some(inbound.host.as_str()),
            body: &inbound.body,
        };
        let caller = self.authenticator.admit(&request, service).await;
        caller.map_err(|error| match error {
            Unauthenticated::Refused(error) => Refusal::Auth(error),
            Unauthenticated::Store(error) => {
                tracing::error!(%error, "the session registry does not answer");
                Refusal::Unavailable
            }
        })
    }

    fn headers_fit(&self, headers: &HeaderMap) -> bool {
        let (count, bytes) = headers
            .iter()
            .fold((0, 0), |(count, bytes), (name, value)| {
                (count + 1, bytes + name.as_str().len() + value.len())
            });
        count <= self.limits.header_count && bytes <= self.limits.header_bytes
    }
}

impl sigv4::Headers for HeaderMap {
    fn values<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8])) {
        for value in self.get_all(name) {
            each(value.as_bytes());
        }
    }
}

/// Some clients of Query protocols leave the content type out.
fn may_be_form(inbound: &Inbound) -> bool {
    let media = inbound.media_type();
    media.is_empty() || media == "application/x-www-form-urlencoded"
}
