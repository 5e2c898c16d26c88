//! The connections of clients: refused when their address has too many, and closed when the rest of a request's head
//! does not arrive or nothing moves. The framework limits only the time of a connection's first head, and lets every
//! later one arrive for ever.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_web::dev::{Extensions, ServiceRequest};
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::address::Proxies;
use super::slots::{AddressSlot, AddressSlots};

/// How long a client may take to send a request's head.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How long nothing may move on a connection while no request is handled: longer than the framework keeps one without
/// a request, and longer than an export is silent. It ends clients that do not read their response.
const IDLE_WAIT: Duration = Duration::from_secs(900);

/// Admits connections, so many for each address. Trusted proxies have as many as they want.
#[derive(Clone)]
pub struct ClientConnections {
    slots: Arc<AddressSlots>,
    proxies: Proxies,
    refused: Counter,
}

impl ClientConnections {
    /// `None`: no limit.
    pub fn new(per_address: Option<usize>, proxies: Proxies, refused: Counter) -> ClientConnections {
        ClientConnections { slots: Arc::new(AddressSlots::new(per_address)), proxies, refused }
    }

    /// Admits a new connection. One that is refused is closed without an answer.
    pub fn admit(
        &self,
        stream: TcpStream,
    ) -> Result<(ClientConnection, Protocol, Option<SocketAddr>), DispatchError> {
        let peer = stream.peer_addr()?;
        let address = peer.ip().to_canonical();
        let slot = match self.proxies.trusts(address) {
            true => None,
            false => Some(self.slots.acquire(address).ok_or_else(|| {
                self.refused.increment(1);
                io::Error::from(ErrorKind::ConnectionRefused)
            })?),
        };
        let state = SharedPhase(Rc::new(Cell::new(Phase::Idle(None))));
        let timer = Box::pin(sleep(HEAD_WAIT));
        Ok((ClientConnection { stream, state, timer, is_armed: false, _slot: slot }, Protocol::Http1, Some(peer)))
    }
}

/// A client's connection.
pub struct ClientConnection {
    stream: TcpStream,
    state: SharedPhase,
    /// One for the connection's life. To set it for each request would cost more: when it is early, it is set again.
    timer: Pin<Box<Sleep>>,
    /// Whether the timer wakes the connection's task when its time is over.
    is_armed: bool,
    _slot: Option<AddressSlot>,
}

/// What a connection does now. It is shared with the requests that arrive on it.
#[derive(Clone)]
struct SharedPhase(Rc<Cell<Phase>>);

/// The end of a phase is set when the timer is looked at: most heads arrive as a whole, and need none.
#[derive(Clone, Copy)]
enum Phase {
    /// It waits for a request, or sends a response. It is closed at this time if nothing moves.
    Idle(Option<Instant>),
    /// The head of a request arrives, or what is left of a body that nobody read. It is closed at this time.
    Head(Option<Instant>),
    /// A request is being handled, which has limits of its own.
    Handling,
}

impl SharedPhase {
    /// When the phase ends. `None`: a request is being handled.
    fn deadline(&self) -> Option<Instant> {
        let after = |wait| Instant::now() + wait;
        match self.0.get() {
            Phase::Idle(Some(deadline)) | Phase::Head(Some(deadline)) => Some(deadline),
            Phase::Idle(None) => {
                let deadline = Some(after(IDLE_WAIT));
                self.0.set(Phase::Idle(deadline));
                deadline
            }
            Phase::Head(None) => {
                let deadline = Some(after(HEAD_WAIT));
                self.0.set(Phase::Head(deadline));
                deadline
            }
            Phase::Handling => None,
        }
    }
}

impl ClientConnection {
    /// Lets the requests of this connection say when they are answered.
    pub fn share_state(&self, data: &mut Extensions) {
        data.insert(self.state.clone());
    }

    /// Fails once the time of the phase is over; until then, wakes the connection at that time.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = self.state.deadline() else { return Ok(()) };
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        // One task polls a connection for its life, so a timer that was polled once wakes it.
        if self.is_armed && !self.timer.is_elapsed() {
            return Ok(());
        }
        self.is_armed = true;
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            self.timer.as_mut().reset(deadline);
        }
        Ok(())
    }
}

/// The framework flushes whenever it has something to do on a connection, after it has read and written. So the timer is
/// looked at there, and where a client does not take what is written.
impl AsyncRead for ClientConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let had = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > had && matches!(self.state.0.get(), Phase::Idle(_)) {
            self.state.0.set(Phase::Head(None));
        }
        read
    }
}

impl AsyncWrite for ClientConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            self.poll_timer(cx)?;
        } else if matches!(self.state.0.get(), Phase::Idle(_)) {
            self.state.0.set(Phase::Idle(None));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_timer(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request that is being handled; its connection has no deadline meanwhile.
pub struct HandledRequest(Option<SharedPhase>);

impl HandledRequest {
    pub fn begin(request: &ServiceRequest) -> HandledRequest {
        let state = request.conn_data::<SharedPhase>().cloned();
        if let Some(state) = &state {
            state.0.set(Phase::Handling);
        }
        HandledRequest(state)
    }
}

impl Drop for HandledRequest {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.0.set(Phase::Idle(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// A connection whose client does not read, so full that the next byte waits, and its client.
    async fn full() -> (ClientConnection, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connections = ClientConnections::new(None, Proxies::new(Vec::new(), false), Counter::noop());
        let (mut connection, ..) = connections.admit(listener.accept().await.unwrap().0).unwrap();
        while timeout(SOON, connection.write_all(&[0; 1 << 16])).await.is_ok() {}
        (connection, client)
    }

    #[actix_web::test]
    async fn a_client_that_does_not_read_its_response_is_cut_off() {
        let (mut connection, _client) = full().await;
        connection.state.0.set(Phase::Idle(Some(Instant::now() + SOON)));
        let failure = timeout(HEAD_WAIT, connection.write_all(&[0])).await.unwrap().unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::TimedOut);
    }

    #[actix_web::test]
    async fn a_client_that_reads_slowly_keeps_its_connection() {
        let (mut connection, mut client) = full().await;
        connection.state.0.set(Phase::Idle(Some(Instant::now() + SOON)));
        let (written, _) = tokio::join!(connection.write_all(&[0; 1 << 20]), async {
            let mut taken = vec![0; 1 << 16];
            while timeout(SOON, client.read(&mut taken)).await.is_ok() {}
        });
        written.unwrap();
        let deadline = connection.state.deadline().unwrap();
        assert!(deadline > Instant::now() + IDLE_WAIT / 2, "each byte that is taken gives it time again");
    }

    #[actix_web::test]
    async fn a_request_that_is_handled_has_no_deadline_here() {
        let (mut connection, _client) = full().await;
        connection.timer.as_mut().reset(Instant::now());
        connection.state.0.set(Phase::Handling);
        assert!(timeout(SOON, poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &[0]))).await.is_err());
        connection.state.0.set(Phase::Head(Some(Instant::now() + SOON)));
        let failure = timeout(HEAD_WAIT, connection.write_all(&[0])).await.unwrap().unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::TimedOut);
    }
}
