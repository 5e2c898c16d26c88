//! The HTTP servers: the main one, and the one of `server.admin_address`. Starts and stops them; what they answer is
//! in `http`.

use std::future::{Future, ready};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_cors::Cors;
use actix_http::HttpServiceBuilder;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::http::{KeepAlive, header};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App as HttpApp, HttpServer, web};
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::AppError;
use crate::config::Config;
use crate::http::{self, ClientConnection, ClientConnections, HEAD_WAIT, PublicPages, Standby, State};

/// How long idle connections are kept.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// How long a client may take to close a connection that the service has closed.
const DISCONNECT_WAIT: Duration = Duration::from_secs(1);
/// Connections that wait until the service accepts them.
const BACKLOG: u32 = 1024;

/// How long a browser may cache the answer to a CORS preflight request, in seconds.
const CORS_AGE: usize = 3600;

/// The addresses that this node listens on, as long as it runs: first its servers of a standby accept there, and then
/// those of the active node.
pub struct Listeners {
    main: Vec<TcpListener>,
    /// Empty: there is no admin address.
    admin: Vec<TcpListener>,
    address: SocketAddr,
}

impl Listeners {
    pub fn bind(config: &Config) -> Result<Listeners, AppError> {
        let (host, port) = (config.server.host.as_str(), config.server.port);
        let cannot = |address: String| move |cause| AppError::Listen { address, cause };
        let main = listen((host, port)).map_err(cannot(format!("{host}:{port}")))?;
        let admin = match &config.server.admin_address {
            Some(address) => listen(address).map_err(cannot(address.clone()))?,
            None => Vec::new(),
        };
        // `listen` has made one listener or failed.
        let address = main.first().map_or(Err(ErrorKind::AddrNotAvailable.into()), TcpListener::local_addr);
        Ok(Listeners { address: address.map_err(cannot(format!("{host}:{port}")))?, main, admin })
    }

    /// The first address of the main port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The running servers.
pub struct Servers {
    pub address: SocketAddr,
    /// `None`: there is no admin address.
    pub admin_address: Option<SocketAddr>,
    /// In the order in which they stop: the metrics can be read until the last request is answered.
    handles: Vec<ServerHandle>,
    running: JoinSet<io::Result<()>>,
}

impl Servers {
    /// Starts them; they accept connections when this returns.
    pub fn start(config: &Config, listeners: &Listeners, state: &web::Data<State>) -> Result<Servers, AppError> {
        let mut servers = Servers::none(listeners);
        servers.add(main_server(config, &listeners.main, state.clone())?);
        servers.admin_address = listeners.admin.first().and_then(|listener| listener.local_addr().ok());
        if servers.admin_address.is_some() {
            servers.add(admin_server(&listeners.admin, state.clone())?);
        }
        Ok(servers)
    }

    /// Starts the servers of a node that stands by.
    pub fn stand_by(listeners: &Listeners, ready: Arc<AtomicBool>) -> Result<Servers, AppError> {
        let (state, mut servers) = (web::Data::new(Standby { ready }), Servers::none(listeners));
        let (main, admin) = (&listeners.main, &listeners.admin);
        let routes = if admin.is_empty() { http::standby_routes_with_metrics } else { http::standby_routes };
        servers.add(standby_server(main, state.clone(), routes)?);
        if !admin.is_empty() {
            servers.add(standby_server(admin, state, http::standby_admin_routes)?);
        }
        Ok(servers)
    }

    fn none(listeners: &Listeners) -> Servers {
        let (address, running) = (listeners.address(), JoinSet::new());
        Servers { address, admin_address: None, handles: Vec::new(), running }
    }

    fn add(&mut self, server: Server) {
        self.handles.push(server.handle());
        self.running.spawn(server);
    }

    /// Waits until a server has ended that nobody stopped; returns how.
    pub fn ended(&mut self) -> impl Future<Output = String> + '_ {
        let ended = self.running.join_next();
        async { format!("{:?}", ended.await) }
    }

    /// Stops them: they accept no new requests, and answer those that they have.
    pub async fn stop(&self) {
        for server in &self.handles {
            server.stop(true).await;
        }
    }

    /// Stops them without waiting for anything.
    pub async fn stop_at_once(&self) {
        for server in &self.handles {
            server.stop(false).await;
        }
    }
}

/// The server of the API. Its connections are ours (`http::ClientConnections`), so it is built from the parts of
/// actix-web's own `HttpServer`.
fn main_server(config: &Config, listeners: &[TcpListener], state: web::Data<State>) -> Result<Server, AppError> {
    let origins = config.server.cors_origins.clone();
    let pages = PublicPages { docs: config.server.docs, metrics: config.server.admin_address.is_none() };
    let connections = connections(config, &state);
    let mut server = Server::build().shutdown_timeout(config.server.shutdown_timeout.as_secs()).disable_signals();
    if config.server.workers > 0 {
        server = server.workers(config.server.workers);
    }
    let stopping = server.graceful_shutdown_signal();
    let factory = move || {
        let app = HttpApp::new()
            .app_data(state.clone())
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .wrap(from_fn(http::trace))
            .configure(http::routes(pages));
        let (connections, stopping) = (connections.clone(), stopping.clone());
        let protocol = HttpServiceBuilder::default()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_WAIT)
            .client_disconnect_timeout(DISCONNECT_WAIT)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(ClientConnection::share_state)
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream| ready(connections.admit(stream))).and_then(protocol)
    };
    for listener in listeners {
        let clone = listener.try_clone().map_err(again(listener))?;
        server = server.listen("http", clone, factory.clone()).map_err(again(listener))?;
    }
    Ok(server.run())
}

/// Listens on each address of a host name that this machine has; fails if it has none of them.
fn listen(at: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
    let one = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // The standard library's listener would let only 128 connections wait.
        socket.listen(BACKLOG)?.into_std()
    };
    let (mut listeners, mut failure) = (Vec::new(), ErrorKind::AddrNotAvailable.into());
    for address in at.to_socket_addrs()? {
        match one(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => failure = error,
        }
    }
    if listeners.is_empty() { Err(failure) } else { Ok(listeners) }
}

/// Admits connections as it is configured.
fn connections(config: &Config, state: &State) -> ClientConnections {
    let per_address = match config.server.connections_per_address {
        // A process whose limit cannot be read is told of no limit.
        0 => getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(descriptors, _)| descriptors) / 2,
        configured => configured as u64,
    };
    let per_address = usize::try_from(per_address).unwrap_or(usize::MAX).max(1);
    let limit = config.limits.enabled.then_some(per_address);
    ClientConnections::new(limit, state.proxies.clone(), state.metrics.refused_connections())
}

/// The server of the admin address, for a few programs of the operator.
fn admin_server(listeners: &[TcpListener], state: web::Data<State>) -> Result<Server, AppError> {
    let mut server = HttpServer::new(move || {
        HttpApp::new().app_data(state.clone()).wrap(from_fn(http::trace)).configure(http::admin_routes)
    })
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_WAIT)
    .workers(1)
    .disable_signals();
    for listener in listeners {
        server = listener.try_clone().and_then(|clone| server.listen(clone)).map_err(again(listener))?;
    }
    Ok(server.run())
}

/// The server of a node that stands by. It keeps no connection, so that a client soon reaches the active node.
fn standby_server(
    listeners: &[TcpListener],
    state: web::Data<Standby>,
    routes: fn(&mut web::ServiceConfig),
) -> Result<Server, AppError> {
    let mut server = HttpServer::new(move || {
        HttpApp::new().app_data(state.clone()).wrap(from_fn(http::trace)).configure(routes)
    })
    .keep_alive(KeepAlive::Disabled)
    .client_request_timeout(HEAD_WAIT)
    .workers(1)
    .disable_signals();
    for listener in listeners {
        server = listener.try_clone().and_then(|clone| server.listen(clone)).map_err(again(listener))?;
    }
    Ok(server.run())
}

/// A listener that another server cannot use.
fn again(listener: &TcpListener) -> impl FnOnce(io::Error) -> AppError {
    let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    move |cause| AppError::Listen { address, cause }
}

/// What pages of these origins may do in a browser. They send a token with each request, never a cookie.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header("Idempotency-Key")
        .expose_headers([header::RETRY_AFTER, header::CONTENT_DISPOSITION])
        .expose_headers(["X-Request-Id", "Idempotency-Replayed"])
        .max_age(CORS_AGE);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
