//! The node: this run of the service, among the others on its database. It stands by while another one is active,
//! takes the place of one that is dead, and keeps its own lease as long as its actors work. `domain/node.rs` decides
//! who is dead and when; this file asks the database and acts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{interval, sleep, timeout};
use tokio_postgres::Client;

use super::draws::Draws;
use super::lease::Lease;
use super::persistence::{Persistence, nodes};
use crate::clock::machine_time;
use crate::db::{DbError, Target, connect_node, describe, read};
use crate::domain::id::NodeId;
use crate::domain::node::{Verdict, Watch, may_renew};

/// How often the active node renews its lease.
const RENEWAL: Duration = Duration::from_millis(500);
/// How often a standby looks who is active. A place that was given up is taken within this time, and meanwhile nothing
/// is sold.
const LOOK: Duration = Duration::from_millis(50);
/// The pause before a standby looks again after it has lost its session. The active node may have lost its sessions at the
/// same time, and must not be taken for gone before it has opened new ones.
const LOST_PAUSE: Duration = Duration::from_millis(250);
/// After how many looks a standby shows that it works.
const LOOKS_PER_BEAT: u32 = 20;
/// The time limit for one statement of a node, and for a new connection. It is shorter than the lease, so that a
/// connection that does not answer is replaced before the lease runs out.
const ANSWER_WAIT: Duration = Duration::from_millis(1_500);
/// How long the sessions of dead nodes may take to end, and their writer's rows to close.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// How long the sessions of dead nodes may take to end, and the pause between two looks whether they have.
const SESSION_WAIT: Duration = Duration::from_secs(2);
const SESSION_LOOK: Duration = Duration::from_millis(5);
/// The pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// This run of the service.
pub struct Node {
    id: NodeId,
    target: Target,
    session: Option<Client>,
    /// Whether nothing was committed over this session yet.
    is_new: bool,
    /// Whether it could take over if it had to.
    ready: Arc<AtomicBool>,
}

/// What a node says of itself, for the operator.
pub struct NodeInfo<'a> {
    pub host: &'a str,
    pub url: &'a str,
    pub version: &'a str,
}

/// Why a node that stands by has ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("another node has declared this one dead")]
    Dead,
}

impl Node {
    /// Makes itself known in the database. It may not write anything else yet.
    pub async fn register(target: &Target, info: &NodeInfo<'_>) -> Result<Node, DbError> {
        let first = connect_node(target).await?;
        let id = nodes::insert(&first, info.host, info.url, info.version).await?;
        Ok(Node { id, target: target.of_node(id), session: None, is_new: true, ready: Arc::default() })
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The database, in sessions of this node.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the node stands by and could take over if it had to.
    pub fn ready(&self) -> Arc<AtomicBool> {
        self.ready.clone()
    }

    /// Waits until this node is the active one. `exclusive`: no other node can reach the database. `stands_by` is
    /// called once, when another node turns out to be active.
    pub async fn become_active<E: From<NodeError>>(
        &mut self,
        exclusive: bool,
        stands_by: impl FnOnce() -> Result<(), E>,
    ) -> Result<Lease, E> {
        let (mut watch, mut stands_by) = (Watch::new(exclusive), Some(stands_by));
        let (mut looks, mut ticks) = (0_u32, interval(LOOK));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.look(&mut watch, looks).await {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) => {
                    self.ready.store(true, Ordering::Relaxed);
                    if let Some(stands_by) = stands_by.take() {
                        stands_by()?;
                    }
                }
                Err(NodeError::Database(error)) if error.is_transient() => {
                    watch.failed();
                    self.session = None;
                    if self.ready.swap(false, Ordering::Relaxed) || looks == 0 {
                        tracing::warn!(error = describe(&error), "the node does not see who is active");
                    }
                    sleep(LOST_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
            looks = looks.wrapping_add(1);
        }
    }

    /// Looks once who is active, and takes over if that node is dead.
    async fn look(&mut self, watch: &mut Watch, looks: u32) -> Result<Option<Lease>, NodeError> {
        let node = self.id;
        if self.session.take_if(|session| session.is_closed()).is_some() {
            sleep(LOST_PAUSE).await;
        }
        if self.session.is_none() {
            watch.failed();
        }
        let session = self.session().await?;
        if looks.is_multiple_of(LOOKS_PER_BEAT) && !within(nodes::beat(session, node)).await? {
            return Err(NodeError::Dead);
        }
        let asked = machine_time();
        let active = within(read::nodes::active(session)).await?;
        if active.is_some_and(|active| active.node == node && !active.dead) {
            // The answer to an earlier claim was lost.
            let sent = machine_time();
            let held = within(nodes::beat(session, node)).await?;
            return if held { Ok(Some(Lease::claimed(node, sent))) } else { Err(NodeError::Dead) };
        }
        match watch.saw(active, asked, machine_time()) {
            Verdict::Alive => return Ok(None),
            Verdict::Vacant => {}
            Verdict::Dead(node, beat, sign) => {
                if !within(nodes::declare_dead(session, node, beat)).await? {
                    return Ok(None);
                }
                tracing::warn!(%node, ?sign, "the active node is dead: this one takes over");
            }
        }
        take_over(session, node, active.map(|active| active.node)).await
    }

    /// The node's own connection, opened again if it is lost.
    async fn session(&mut self) -> Result<&Client, DbError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                self.is_new = true;
                open(&self.target).await?
            }
        };
        Ok(self.session.insert(session))
    }

    /// Renews the lease until the node is dead. It is not renewed while the actors do not answer, once there are some.
    pub async fn renew(mut self, lease: Lease, actors: Arc<OnceLock<(Draws, Persistence)>>) {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut failing, mut was_held) = (false, true);
        // The claim was committed over it.
        self.is_new = false;
        while !lease.is_dead() {
            ticks.tick().await;
            let renewed = match works(actors.get()).await {
                true => self.renew_once(&lease).await,
                false => Err("the actors do not answer, or a transaction does not end".to_owned()),
            };
            match renewed {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error, "the lease could not be renewed; it is tried again");
                    }
                }
            }
            let held = lease.is_held();
            match (was_held, held) {
                (true, false) => {
                    tracing::error!("the lease has run out: nothing is written and answered until it is renewed")
                }
                (false, true) => tracing::info!("the lease is held again"),
                _ => {}
            }
            was_held = held;
        }
    }

    async fn renew_once(&mut self, lease: &Lease) -> Result<(), String> {
        let node = self.id;
        let renewal = async {
            let session = self.session().await?;
            let sent = machine_time();
            Ok::<_, DbError>((sent, within(nodes::beat(session, node)).await?))
        };
        match renewal.await {
            Ok((sent, true)) => {
                if std::mem::take(&mut self.is_new) {
                    // The database may be at another host now, and the server before may still answer reads. What waits
                    // for the lease goes on with new connections.
                    self.target.end_connections().await;
                }
                lease.renewed(sent);
            }
            Ok((_, false)) => lease.lost(),
            Err(error) => {
                if self.is_new {
                    // A primary whose standby was promoted accepts connections and commits nothing.
                    self.target.skip_host();
                }
                self.session = None;
                sleep(RETRY).await;
                return Err(describe(&error));
            }
        }
        Ok(())
    }
}

/// Ends a node that stops by itself, over a session that [`open`] has opened: another one takes its place at once.
pub async fn end(session: &Client, node: NodeId) -> Result<(), DbError> {
    match timeout(CLOSE_WAIT, nodes::end(session, node)).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(DbError::Timeout(CLOSE_WAIT)),
    }
}

/// Whether the actors do their work.
async fn works(actors: Option<&(Draws, Persistence)>) -> bool {
    // While the draws are being loaded there are no actors yet.
    let Some((draws, persistence)) = actors else { return true };
    let answers = async { draws.answers().await && persistence.answers().await };
    let answer = timeout(ANSWER_WAIT, answers).await.unwrap_or(false);
    let transaction = persistence.transaction_time().and_then(|time| time.try_into().ok());
    may_renew(answer, transaction)
}

/// Takes the place of a node that is dead, or has given it up: first everything ends that a dead one may still do.
async fn take_over(session: &Client, node: NodeId, before: Option<NodeId>) -> Result<Option<Lease>, NodeError> {
    let cleared = timeout(CLOSE_WAIT, async {
        let ended = end_sessions(session).await?;
        Ok((ended, nodes::close_writers_of_the_dead(session).await?))
    });
    let cleared: Result<_, tokio_postgres::Error> = cleared.await.map_err(|_| DbError::Timeout(CLOSE_WAIT))?;
    let (ended, closed) = cleared.map_err(DbError::from)?;
    let sent = machine_time();
    if !within(nodes::claim(session, node, before)).await? {
        return Ok(None);
    }
    tracing::info!(%node, ended, closed, "this node is active");
    Ok(Some(Lease::claimed(node, sent)))
}

/// Whether another node could take over from this one.
pub async fn has_standby(session: &Client, node: NodeId) -> Result<bool, DbError> {
    within(read::nodes::has_standby(session, node)).await
}

/// Ends the sessions of dead nodes, all at the same time, and waits until they are gone; returns how many there were.
async fn end_sessions(session: &Client) -> Result<i64, tokio_postgres::Error> {
    let told = nodes::end_sessions_of_the_dead(session).await?;
    let gone = async {
        let mut left = told;
        while left > 0 {
            sleep(SESSION_LOOK).await;
            left = nodes::end_sessions_of_the_dead(session).await?;
        }
        Ok(())
    };
    match timeout(SESSION_WAIT, gone).await {
        Ok(gone) => gone?,
        // They have lost their rights all the same: the rows of their writers are closed next.
        Err(_) => tracing::warn!("sessions of a dead node have not ended yet"),
    }
    Ok(told)
}

/// Opens a session of a node.
pub async fn open(target: &Target) -> Result<Client, DbError> {
    timeout(ANSWER_WAIT, connect_node(target)).await.unwrap_or(Err(DbError::Timeout(ANSWER_WAIT)))
}

async fn within<T>(statement: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, DbError> {
    Ok(timeout(ANSWER_WAIT, statement).await.map_err(|_| DbError::Timeout(ANSWER_WAIT))??)
}
