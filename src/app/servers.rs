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
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;

use super::AppError;
use crate::config::Config;
use crate::http::{self, ClientConnection, ClientConnections, HEAD_WAIT, PublicPages, Standby, State};

/// How long idle connections are kept.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// How long a client may take to close a connection that the service has closed.
const DISCONNECT_WAIT: Duration = Duration::from_secs(1);
/// Connections that wait until the service accepts them. The standard library's listener would let only 128 wait.
const BACKLOG: i32 = 1024;

/// How long a browser may cache the answer to a CORS preflight request, in seconds.
const CORS_AGE: usize = 3600;

/// The addresses of this node, which are its own as long as it runs. Connections are refused until a server listens: first
/// the servers of a standby, and then those of the active node.
pub struct Ports {
    main: Vec<Socket>,
    /// Empty: there is no admin address.
    admin: Vec<Socket>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
}

impl Ports {
    /// Takes the addresses, before a start begins that may be long.
    pub fn bind(config: &Config) -> Result<Ports, AppError> {
        let (host, port) = (config.server.host.as_str(), config.server.port);
        let (main, address) = bind((host, port)).map_err(main_refused(format!("{host}:{port}")))?;
        let Some(at) = &config.server.admin_address else {
            return Ok(Ports { main, admin: Vec::new(), address, admin_address: None });
        };
        let (admin, admin_address) = bind(at).map_err(admin_refused(at.clone()))?;
        Ok(Ports { main, admin, address, admin_address: Some(admin_address) })
    }

    /// The first address of the main port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listeners on the main port, for one server.
    fn listen(&self) -> Result<Vec<TcpListener>, AppError> {
        listen(&self.main).map_err(main_refused(self.address.to_string()))
    }

    /// Listeners on the admin address, for one server. Empty: there is no admin address.
    fn listen_for_admins(&self) -> Result<Vec<TcpListener>, AppError> {
        let address = self.admin_address.map_or_else(String::new, |address| address.to_string());
        listen(&self.admin).map_err(admin_refused(address))
    }
}

fn main_refused(address: String) -> impl FnOnce(io::Error) -> AppError {
    |cause| AppError::Listen { address, variable: "LOTTERY__SERVER__PORT", cause }
}

fn admin_refused(address: String) -> impl FnOnce(io::Error) -> AppError {
    |cause| AppError::Listen { address, variable: "LOTTERY__SERVER__ADMIN_ADDRESS", cause }
}

/// Takes each address of a host name that this machine has; fails if it has none of them, or if one is in use. Returns
/// the first one, too.
fn bind(at: impl ToSocketAddrs) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let (mut sockets, mut first, mut failure) = (Vec::new(), None, ErrorKind::AddrNotAvailable.into());
    for address in at.to_socket_addrs()? {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Connections of an earlier run that are not quite over yet do not keep the address from this one.
        socket.set_reuse_address(true)?;
        match socket.bind(&address.into()) {
            Ok(()) => {
                first = first.or(socket.local_addr()?.as_socket());
                sockets.push(socket);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(error) => failure = error,
        }
    }
    first.map(|first| (sockets, first)).ok_or(failure)
}

/// Listeners for one server. Another program that has bound the address, too, may listen first.
fn listen(sockets: &[Socket]) -> io::Result<Vec<TcpListener>> {
    let listener = |socket: &Socket| {
        // Again for another server: that changes nothing.
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket.try_clone()?))
    };
    sockets.iter().map(listener).collect()
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
    pub fn start(config: &Config, ports: &Ports, state: &web::Data<State>) -> Result<Servers, AppError> {
        let mut servers = Servers::none(ports);
        servers.add(main_server(config, ports.listen()?, state.clone()))?;
        if servers.admin_address.is_some() {
            servers.add(small_server(
                ports.listen_for_admins()?,
                state.clone(),
                KEEP_ALIVE,
                http::admin_routes,
            ))?;
        }
        Ok(servers)
    }

    /// Starts the servers of a node that stands by.
    pub fn stand_by(ports: &Ports, ready: Arc<AtomicBool>) -> Result<Servers, AppError> {
        let (state, mut servers) = (web::Data::new(Standby { ready }), Servers::none(ports));
        let has_admin = servers.admin_address.is_some();
        let routes = if has_admin { http::standby_routes } else { http::standby_routes_with_metrics };
        servers.add(small_server(ports.listen()?, state.clone(), KeepAlive::Disabled, routes))?;
        if has_admin {
            servers.add(small_server(
                ports.listen_for_admins()?,
                state,
                KeepAlive::Disabled,
                http::standby_admin_routes,
            ))?;
        }
        Ok(servers)
    }

    fn none(ports: &Ports) -> Servers {
        let (address, admin_address) = (ports.address, ports.admin_address);
        Servers { address, admin_address, handles: Vec::new(), running: JoinSet::new() }
    }

    fn add(&mut self, server: io::Result<Server>) -> Result<(), AppError> {
        let server = server.map_err(AppError::HttpServer)?;
        self.handles.push(server.handle());
        self.running.spawn(server);
        Ok(())
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
fn main_server(config: &Config, listeners: Vec<TcpListener>, state: web::Data<State>) -> io::Result<Server> {
    let origins = config.server.cors_origins.clone();
    let pages = PublicPages {
        web: config.server.web,
        docs: config.server.docs,
        metrics: config.server.admin_address.is_none(),
    };
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
        server = server.listen("http", listener, factory.clone())?;
    }
    Ok(server.run())
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

/// A server for few clients: the programs of the operator at the admin address, or what reaches a node that stands by.
fn small_server<S: Send + Sync + 'static>(
    listeners: Vec<TcpListener>,
    state: web::Data<S>,
    keep_alive: impl Into<KeepAlive>,
    routes: fn(&mut web::ServiceConfig),
) -> io::Result<Server> {
    let mut server = HttpServer::new(move || {
        HttpApp::new().app_data(state.clone()).wrap(from_fn(http::trace)).configure(routes)
    })
    .keep_alive(keep_alive)
    .client_request_timeout(HEAD_WAIT)
    .workers(1)
    .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

/// What pages of these origins may do in a browser. They send a token with each request, never a cookie.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_headers(["Idempotency-Key", "Prefer"])
        .expose_headers([header::RETRY_AFTER, header::CONTENT_DISPOSITION])
        .expose_headers(["X-Request-Id", "Idempotency-Replayed", "Preference-Applied"])
        .max_age(CORS_AGE);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
