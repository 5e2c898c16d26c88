//! The setup of the benches: a private Postgres, the service on it with a draw on sale and players with enough
//! money, and an HTTP client that needs little processor time. It measures nothing itself.

#[path = "../../tests/common/postgres.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod postgres;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jiff::SignedDuration;
use lottery::actors::draws::Draws;
use lottery::app::App;
use lottery::clock::Clock;
use lottery::config::Config;
use lottery::db::{connect, private_server_options};
use lottery::domain::audit::AuditActor;
use lottery::domain::draw::{Step, Times};
use lottery::domain::game::Game;
use lottery::domain::id::{DrawId, LotteryId, UserId};
use lottery::domain::lottery::Rules;
use lottery::domain::money::{Money, Share};
use lottery::domain::prize::{Award, PrizeTable, Tier};
use private_postgres::PostgresServer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use self::postgres::connection_string;

/// Players, each with its own wallet.
pub const USERS: i64 = 256;
/// The price of a ticket.
pub const PRICE: i64 = 10_000;

/// A private Postgres and the service on it.
pub struct World {
    pub server: PostgresServer,
    pub app: App,
    _directory: TempDir,
}

impl World {
    pub async fn new() -> World {
        let directory = tempfile::Builder::new().prefix("lottery-bench-").tempdir().unwrap();
        let server = PostgresServer::start(&private_server_options(directory.path())).await.unwrap();
        let nothing = tempfile::NamedTempFile::new().unwrap();
        let mut config = Config::load(Some(nothing.path())).unwrap();
        let database = server.connection();
        config.database.url = Some(connection_string(&database).into());
        config.auth.jwt_secret = Some("a secret of the benches, long enough to sign with".into());
        config.server.port = 0;
        config.limits.enabled = false;
        config.limits.orders_in_flight = 4_096;
        let app = App::start(&config, Clock::system()).await.unwrap();
        let people = format!(
            "INSERT INTO users (username, email, password_hash, created_at)
             SELECT 'player' || n, 'player' || n || '@example.com', 'none', now() FROM generate_series(1, {USERS}) n;
             INSERT INTO accounts (id, kind, user_id, balance)
             SELECT id * 8 + 1, 'wallet', id, 1000000000000 FROM users"
        );
        connect(&database).await.unwrap().batch_execute(&people).await.unwrap();
        World { server, app, _directory: directory }
    }

    pub async fn close(self) {
        self.app.stop().await.unwrap();
        self.server.stop().await.unwrap();
    }
}

/// A new draw that is on sale longer than any measurement.
pub async fn open_draw(draws: &Draws, clock: &Clock) -> DrawId {
    let game = Game::new(5, 36).unwrap();
    let tiers =
        vec![Tier { matches: 5, award: Award::Shared { share: Share::new(10_000).unwrap(), minimum: None } }];
    let rules = Rules {
        lottery: LotteryId("5of36".to_owned()),
        game,
        price: Money::new(PRICE),
        fund_share: Share::new(5_000).unwrap(),
        prizes: PrizeTable::new(game, tiers).unwrap(),
    };
    let end = clock.now() + SignedDuration::from_hours(24);
    let times = Times { sales_open_at: None, sales_close_at: end, draw_at: end };
    let draw = draws.create(&rules, &times, None).await.unwrap();
    let admin = AuditActor { user: UserId(1), address: IpAddr::V4(Ipv4Addr::LOCALHOST), request: Uuid::nil() };
    assert!(draws.step(draw, Step::Open, String::new(), admin).await.unwrap());
    draw
}

/// A connection that is kept open: sends a request, and reads the whole answer.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, read: Vec::with_capacity(1 << 16) }
    }

    /// Whether the answer was a success.
    pub async fn ask(&mut self, request: &[u8]) -> bool {
        self.stream.write_all(request).await.unwrap();
        self.read.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "the service closed the connection");
            if let Some(length) = answer_length(&self.read)
                && self.read.len() >= length
            {
                return self.read.starts_with(b"HTTP/1.1 2");
            }
        }
    }
}

/// The length of the answer, head and body, once its head was received.
fn answer_length(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    Some(head + length.parse::<usize>().unwrap())
}
