// What the entries of a draw must say: their fields, their order and times, the rules, and the prizes that follow.
// Pure functions over parsed entries.

import { equal, require, sha256, unbase64, utf8 } from "./bytes.js";
import { QUICKNET, firstRound, roundTime } from "./beacon.js";
import { hex } from "./bytes.js";

/** The fields of each kind of object: required | possible. */
const FIELDS = {
  draw_announced:
    "type draw at lottery number rules sales_close_at draw_at fairness ticket_log | commitment beacon policy",
  draw_rescheduled: "type draw at sales_close_at draw_at | round",
  draw_sealed: "type draw at orders tickets root | by_hand",
  draw_completed: "type draw at winning_numbers prize_fund jackpot tiers rollover | seed signature after by_hand",
  draw_voided: "type draw at stage reason | seed",
  rules: "pick of price currency fund_share tiers |",
  "rules tier": "matches | amount share minimum",
  "result tier": "matches winners prize |",
  beacon: "chain public_key round |",
};
const TEXTS = new Set(
  "type lottery fairness ticket_log commitment policy root seed signature stage reason currency chain public_key".split(
    " ",
  ),
);
const OBJECTS = new Set(["rules", "beacon"]);
const LISTS = new Set(["tiers", "winning_numbers"]);
const WHOLE = 10_000;

/** A letter for each kind of entry; a draw is announced, rescheduled, sealed and ended in this order. */
const LETTERS = { draw_announced: "a", draw_rescheduled: "r", draw_sealed: "s", draw_completed: "c" };
const STORY = /^ar*(o|s(c|v)?)?$/;

/** An object must have the fields of its kind, and no others. */
export function fields(value, kind) {
  require(kind in FIELDS && typeof value === "object" && value !== null && !Array.isArray(value), "fields", kind);
  const [required, possible] = FIELDS[kind].split("|").map((part) => part.split(" ").filter(Boolean));
  require(required.every((name) => Object.hasOwn(value, name)), "fields", kind);
  for (const [name, inner] of Object.entries(value)) {
    require(required.includes(name) || possible.includes(name), "fields", name);
    const fits = TEXTS.has(name)
      ? typeof inner === "string"
      : LISTS.has(name)
        ? Array.isArray(inner)
        : OBJECTS.has(name)
          ? typeof inner === "object" && !Array.isArray(inner)
          : typeof inner === "number";
    require(fits, "fields", name);
  }
  require((value.by_hand ?? 1) === 1, "fields", "by_hand");
  return value;
}

function checkRules(rules) {
  fields(rules, "rules");
  const { pick, of, tiers } = rules;
  require(pick >= 1 && pick <= of && of <= 64 && rules.price > 0 && rules.fund_share <= WHOLE, "rules");
  const matches = tiers.map((tier) => fields(tier, "rules tier").matches);
  require(matches.length > 0 && matches.every((one, at) => at === 0 || one < matches[at - 1]), "rules");
  require(tiers.reduce((sum, tier) => sum + (tier.share ?? 0), 0) <= WHOLE, "rules");
  for (const tier of tiers) {
    require(tier.matches >= Math.max(1, 2 * pick - of) && tier.matches <= pick, "rules");
    const fixed = tier.amount !== undefined && Object.keys(tier).length === 2;
    require(fixed || (tier.share !== undefined && tier.amount === undefined), "rules");
    require(Object.values(tier).every((amount) => amount > 0), "rules");
  }
}

/**
 * The story of a draw from its events: `{announced, sealed, ended, voided, close, drawAt, round, moves}`. Refuses what no honest
 * service would publish.
 */
export function readStory(events) {
  for (const event of events) fields(event, event?.type);
  const letters = events
    .map((event) => LETTERS[event.type] ?? { open: "o", closed: "v" }[event.stage] ?? "?")
    .join("");
  require(letters.startsWith("a"), "announced");
  require(STORY.test(letters), /[cv]/.test(letters) && !letters.includes("s") ? "no_seal" : "order_of_entries");
  require(events.every((event, at) => at === 0 || event.at >= events[at - 1].at), "times");
  const [announced] = events;
  checkRules(announced.rules);
  const { beacon } = announced;
  if (beacon) {
    fields(beacon, "beacon");
    require(announced.fairness === "beacon" && announced.commitment === undefined, "mode");
    unbase64(beacon.chain, 32);
    unbase64(beacon.public_key, 96);
  } else {
    require(announced.fairness === "commit_reveal" && announced.commitment !== undefined, "mode");
    unbase64(announced.commitment, 32);
  }
  require(announced.at <= announced.sales_close_at, "times");
  const isQuicknet = Boolean(beacon) && hex(unbase64(beacon.chain)) === QUICKNET.chain;
  if (isQuicknet) require(equal(unbase64(beacon.public_key, 96), QUICKNET.publicKey), "beacon_key");
  const story = {
    announced,
    sealed: null,
    ended: null,
    voided: null,
    close: null,
    drawAt: null,
    round: 0,
    isQuicknet,
    // Changes of the round, each with the end of the sale before it.
    moves: [],
  };
  for (const event of events) {
    if (event.type === "draw_announced" || event.type === "draw_rescheduled") takeTimes(story, event);
    else if (event.type === "draw_sealed") takeSeal(story, event);
    else takeEnd(story, event);
  }
  return story;
}

function takeTimes(story, event) {
  const { beacon } = story.announced;
  if (beacon && story.close !== null) {
    require(event.at <= story.close, "times");
    story.moves.push({ event, close: story.close });
  }
  Object.assign(story, { close: event.sales_close_at, drawAt: event.draw_at });
  require(story.close <= story.drawAt, "times");
  const round = event === story.announced ? beacon?.round : event.round;
  require(Boolean(beacon) === (round !== undefined), "round");
  if (!beacon) return;
  if (story.isQuicknet) {
    require(round === firstRound(event.draw_at), "round");
    require(event.at < roundTime(round), "beacon_late");
  }
  story.round = round;
}

function takeSeal(story, event) {
  require(event.tickets >= event.orders, "tickets");
  const root = unbase64(event.root, 32);
  require(event.orders > 0 || (event.tickets === 0 && equal(root, sha256(new Uint8Array()))), "orders");
  require(event.by_hand ? event.at <= story.close : event.at >= story.close, "times");
  if (story.isQuicknet) require(event.at < roundTime(story.round), "sealed_late");
  story.sealed = event;
}

function takeEnd(story, event) {
  const { sealed } = story;
  const { beacon } = story.announced;
  if (event.type === "draw_voided") {
    require((event.seed !== undefined) === Boolean(sealed && !beacon), "shown_end");
    require(!beacon || sealed || event.at <= story.close, "voided_late", event.reason);
    story.voided = event;
  } else {
    require((event.seed !== undefined) === !beacon &&
      (event.signature !== undefined) === Boolean(beacon), "shown_end");
    if (story.isQuicknet) require(event.at >= roundTime(story.round), "times");
    if (!beacon && !event.by_hand) require(!sealed.by_hand && event.at >= story.drawAt, "by_hand");
    for (const tier of event.tiers) fields(tier, "result tier");
    const names = (tiers) => tiers.map((tier) => tier.matches).join();
    require(names(event.tiers) === names(story.announced.rules.tiers), "tiers");
    require(event.tiers.reduce((sum, tier) => sum + tier.winners, 0) <= sealed.tickets, "winners");
  }
  story.ended = event;
}

/** The hash of the announced witness policy must be that of the policy's bytes. */
export function checkPolicyHash(announced, policy) {
  require((policy === null) === (announced.policy === undefined), "policy");
  if (policy !== null) require(equal(sha256(utf8(policy)), unbase64(announced.policy, 32)), "policy");
}

/** Prize fund, the prize of each tier, and what rolls over. Integers of any size; all divisions round down. */
export function prizesOf(rules, sealedTickets, jackpot, winners) {
  const big = BigInt;
  const fund = (big(sealedTickets) * big(rules.price) * big(rules.fund_share)) / big(WHOLE) + big(jackpot);
  const tiers = rules.tiers.map((tier, at) => ({ tier, count: big(winners[at]), paid: null }));
  let left = fund;
  const shared = ({ tier, count }) =>
    count ? ((left > 0n ? left : 0n) * big(tier.share ?? 0)) / big(WHOLE) / count : 0n;
  // A share below its minimum is replaced by the minimum, which lowers what is left for the others.
  const guaranteed = (one) => {
    if (one.tier.amount !== undefined) return big(one.tier.amount);
    const least = big(one.tier.minimum ?? 0);
    return one.count && shared(one) < least ? least : null;
  };
  for (;;) {
    const next = tiers.find((one) => one.paid === null && guaranteed(one) !== null);
    if (!next) break;
    next.paid = guaranteed(next);
    left -= next.paid * next.count;
  }
  const prizes = tiers.map((one) => one.paid ?? shared(one));
  const total = prizes.reduce((sum, prize, at) => sum + prize * tiers[at].count, 0n);
  return { fund, prizes, rollover: fund + (left < 0n ? -left : 0n) - total };
}
