// The first page: draws on sale, the numbers, the basket.

import { h, replace, announce, rich, calmMotion } from '../dom.js';
import { t, money, dayTime, lotteryName, odds, share } from '../i18n.js';
import { get } from '../api.js';
import { allLotteries, drawOf, drawsOnSale, forgetDraws, headlinePrize, lottery, poll } from '../draws.js';
import { everySecond, countdownText, parts } from '../clock.js';
import { watchDraw } from '../events.js';
import { addLines, basket, linesOf, MOST_LINES, removeLine } from '../basket.js';
import { icon } from '../components/icons.js';
import { balls, emptyBalls } from '../components/balls.js';
import { randomNumbers } from '../components/number-grid.js';
import { tabs } from '../components/tabs.js';
import { toast } from '../components/forms.js';
import { checkout } from '../components/checkout.js';

/** How often the list of draws is read again. */
const LIST_PAUSE = 20_000;
const QUICK_PICKS = [1, 3, 5, 10];

export async function playPage(root, [wanted], signal) {
  const hero = h('section.hero', { 'aria-labelledby': 'hero-title' });
  const choice = h('div.draw-choice', { role: 'group', 'aria-label': t('play.draws') });
  const picker = h('section.card.picker', { 'aria-labelledby': 'picker-title' });
  const side = h('aside.side', { 'aria-label': t('basket.title') });
  const prizes = h('section.card.prizes', { 'aria-labelledby': 'prizes-title' });
  skeleton(hero, choice, picker, side);
  replace(root, h('div.play', h('div.play-main', hero, choice, picker, prizes), side));

  let [draws, lotteries] = await Promise.all([drawsOnSale(signal), allLotteries()]);
  if (signal.aborted) return;
  let shown = null;
  let page = null;
  const select = async (draw) => {
    page?.abort();
    page = new AbortController();
    const own = page.signal;
    signal.addEventListener('abort', () => page.abort());
    shown = draw;
    markChoice();
    const game = lotteries.find((one) => one.id === draw.lottery) ?? (await lottery(draw.lottery));
    showDraw(hero, picker, side, prizes, draw, game, own, ended);
  };
  const markChoice = () => {
    for (const button of choice.children) button.setAttribute('aria-pressed', Number(button.dataset.draw) === shown?.id);
  };
  const list = () => {
    // Buttons are kept where the draws are the same, so that nobody loses the focus.
    const same = draws.map((draw) => draw.id).join() === [...choice.children].map((button) => button.dataset.draw).join();
    if (!same) {
      replace(choice, draws.map((draw) => drawButton(draw, signal, () => select(draw))));
      choice.hidden = draws.length < 2;
    }
    markChoice();
  };
  const ended = () => {
    forgetDraws();
    toast(t('play.closed'));
    renew();
  };
  const renew = async () => {
    draws = await drawsOnSale(signal);
    list();
    if (!draws.length) return nothingOnSale(root);
    if (!draws.some((draw) => draw.id === shown?.id)) select(draws[0]);
  };

  if (!draws.length) {
    nothingOnSale(root);
    return poll(async () => {
      forgetDraws();
      draws = await drawsOnSale(signal);
      if (draws.length) playPage(root, [wanted], signal);
    }, LIST_PAUSE, signal);
  }
  list();
  await select(draws.find((draw) => String(draw.id) === wanted) ?? draws.find((draw) => linesOf(draw.id).length) ?? draws[0]);
  poll(renew, LIST_PAUSE, signal);
}

/** Boxes of the final size, so that nothing moves when the data come. */
function skeleton(hero, choice, picker, side) {
  replace(hero, h('div.hero-in', h('p.hero-kicker', t('play.kicker')), h('h1', { id: 'hero-title' }, t('play.title')), h('div.hero-amount.blank'), h('div.hero-foot.blank')));
  replace(choice, h('div.draw-button.blank'), h('div.draw-button.blank'));
  replace(picker, h('h2', { id: 'picker-title' }, t('picker.title')), h('div.tabs.tabs-blank'), h('div.pick-head'), h('div.grid-blank', { 'aria-hidden': 'true' }, Array.from({ length: 36 }, () => h('span.pick.blank'))), h('div.pick-foot.foot-blank'));
  replace(side, h('div.card.basket.blank', h('h2', t('basket.title'))));
}

function nothingOnSale(root) {
  replace(root, h('div.empty-state', icon('clock', 40), h('h1', t('play.none')), h('p', t('play.none.text')), h('a.button', { href: '#/results' }, t('nav.results'))));
}

function drawButton(draw, signal, choose) {
  const left = h('span.draw-button-left');
  everySecond((now) => (left.textContent = countdownText(draw.sales_close_at, now)), signal);
  return h('button.draw-button', { type: 'button', dataset: { draw: draw.id }, onclick: choose },
    h('span.draw-button-name', lotteryName(draw.lottery), h('span.muted', ` № ${draw.number}`)),
    h('span.draw-button-time', icon('clock', 16), left));
}

function showDraw(hero, picker, side, prizes, draw, game, signal, ended) {
  draw.pick = game.pick;
  let headline;
  const kicker = h('p.hero-kicker', `${lotteryName(draw.lottery)} · ${t('draw.number', { n: draw.number })}`);
  const title = h('h1', { id: 'hero-title', 'data-title': t('play.title') });
  const fund = h('span');
  const sold = h('span');
  const show = () => {
    headline = headlinePrize(draw.prizes ?? game.prizes, draw.prize_fund);
    replace(title, h('span.hero-label', t(`prize.${headline.kind}`)), h('span.hero-amount', money(headline.amount, draw.currency)));
    fund.textContent = t('draw.price', { price: money(draw.price, draw.currency) });
    sold.textContent = headline.kind === 'least' && draw.prize_fund ? t('prize.fund_now', { amount: money(draw.prize_fund, draw.currency) }) : t('draw.sold', { n: draw.tickets_sold });
  };
  show();
  const count = countdown(draw.sales_close_at, signal);
  replace(hero, h('div.hero-in', kicker, title,
    h('div.hero-foot', h('div.hero-count', h('span.hero-small', t('play.closes', { at: dayTime(draw.sales_close_at) })), count),
      h('div.hero-facts', h('span.live', fund), sold, h('a', { href: `/verify/${draw.id}` }, icon('verify', 18), t('play.verifiable'))))));

  watchDraw(draw.id, {
    sales: (sales) => {
      Object.assign(draw, sales);
      show();
    },
    status: ({ status }) => {
      if (status !== 'open' && status !== 'scheduled') ended();
    },
  }, signal);

  showPicker(picker, draw, game, signal);
  showPrizes(prizes, draw, game, signal);
  showBasket(side, draw, signal);
}

function countdown(until, signal) {
  const units = ['d', 'h', 'm', 's'].map((unit) => [unit, h('b'), h('span')]);
  const node = h('div.countdown', { role: 'timer', 'aria-live': 'off' }, units.map(([, value, name]) => h('div', value, name)));
  everySecond((now) => {
    const left = parts(until, now);
    for (const [unit, value, name] of units) {
      value.textContent = unit === 'd' ? left.d : String(left[unit]).padStart(2, '0');
      name.textContent = t(`unit.${unit}`, { n: left[unit] });
    }
    node.setAttribute('aria-label', countdownText(until, now));
  }, signal);
  return node;
}

function showPicker(picker, draw, game, signal) {
  const items = [['choose', t('picker.choose')], ['quick', t('picker.quick')], ['pool', t('picker.pool')]];
  const views = {};
  const tab = tabs(t('picker.title'), items, (key, panel) => {
    views[key] ??= { choose: chooseNumbers, quick: quickPick, pool: pool }[key](draw, game, signal);
    replace(panel, views[key]);
  });
  replace(picker, h('h2', { id: 'picker-title' }, t('picker.title')), tab.list, tab.panel);
}

function added(draw, lines) {
  const n = addLines(draw.id, lines);
  if (!n) toast(t('basket.full', { n: MOST_LINES }), 'bad');
  else announce(t('basket.added', { n, all: linesOf(draw.id).length }));
  return n;
}

function chooseNumbers(draw, game) {
  const grid = document.createElement('number-grid');
  grid.game = game;
  const count = h('p.pick-count', { 'aria-live': 'polite' });
  const add = h('button.button.primary', { type: 'button', onclick: () => {
    if (!grid.isComplete) return announce(t('picker.left', { n: game.pick - grid.value.length }), true);
    if (added(draw, [{ numbers: grid.value }])) grid.value = [];
  } }, icon('plus', 20), t('picker.add'));
  const clear = h('button.button.quiet', { type: 'button', onclick: () => (grid.value = []) }, t('picker.clear'));
  const fill = h('button.button', { type: 'button', onclick: () => spin(grid, game) }, icon('dice', 20), t('picker.fill'));
  const change = () => {
    const left = game.pick - grid.value.length;
    count.textContent = left ? t('picker.left', { n: left }) : t('picker.ready');
    add.setAttribute('aria-disabled', String(left > 0));
    clear.disabled = left === game.pick;
  };
  grid.addEventListener('change', change);
  change();
  return [h('div.pick-head', count, h('div.pick-tools', clear, fill)), grid, h('div.pick-foot', add)];
}

/** Random numbers, after a short roll that shows that they are random. */
function spin(grid, game) {
  let rounds = calmMotion() ? 1 : 6;
  const roll = () => {
    grid.value = randomNumbers(game.pick, game.of);
    if (--rounds) setTimeout(roll, 70);
  };
  roll();
}

function quickPick(draw, game) {
  return h('div.quick', h('p', t('quick.text', { pick: game.pick, of: game.of })), h('div.quick-choices', QUICK_PICKS.map((n) =>
    h('button.quick-choice', { type: 'button', onclick: () => added(draw, Array.from({ length: n }, () => ({ quick_pick: true }))) },
      h('strong', t('lines', { n })), h('span', money(n * draw.price, draw.currency))))));
}

/** The tickets that were made in advance. */
function pool(draw, game, signal) {
  const list = h('ul.pool');
  const foot = h('div.pool-foot');
  const node = h('div', h('p', t('pool.text')), list, foot);
  let cursor = '';
  const rows = new Map();
  const load = async () => {
    replace(foot, h('p.muted', t('loading')));
    try {
      const page = await get(`/draws/${draw.id}/pool?limit=12${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { auth: false, signal });
      for (const ticket of page.items) {
        const button = h('button.button.small', { type: 'button', onclick: () => added(draw, [{ pool_ticket_id: ticket.id, numbers: ticket.numbers }]) },
          h('span', t('pool.choose')), h('span.sr', ` ${ticket.numbers.join(', ')}`));
        rows.set(ticket.id, button);
        list.append(h('li', balls(ticket.numbers, { size: 'small' }), button));
      }
      mark();
      cursor = page.next_cursor;
      replace(foot, cursor ? h('button.button', { type: 'button', onclick: load }, t('more')) : rows.size ? null : h('p.muted', t('pool.none')));
    } catch (problem) {
      if (!signal.aborted) replace(foot, h('p.problem', problem.text), h('button.button', { type: 'button', onclick: load }, t('retry')));
    }
  };
  const mark = () => {
    const chosen = new Set(linesOf(draw.id).map((line) => line.pool_ticket_id));
    for (const [id, button] of rows) {
      button.disabled = chosen.has(id);
      button.firstChild.textContent = chosen.has(id) ? t('pool.chosen') : t('pool.choose');
    }
  };
  basket.watch(mark, signal, false);
  load();
  return node;
}

async function showPrizes(place, draw, game, signal) {
  const full = await drawOf(draw.id, signal).catch(() => ({ prizes: game.prizes }));
  if (signal.aborted) return;
  draw.prizes = full.prizes;
  replace(place, h('h2', { id: 'prizes-title' }, t('prizes.title')), prizeTable(full.prizes, draw.currency, game.pick),
    h('p.muted.small', rich(t('prizes.text', { share: share(game.fund_share) }))));
}

export function prizeTable(prizes, currency) {
  return h('div.table-box', h('table.table', h('thead', h('tr', h('th', { scope: 'col' }, t('prizes.matches')), h('th', { scope: 'col' }, t('prizes.prize')), h('th.num', { scope: 'col' }, t('prizes.odds')))),
    h('tbody', prizes.map((prize) => h('tr', h('th', { scope: 'row' }, t('matches', { n: prize.matches })),
      h('td', prize.kind === 'fixed' ? h('strong', money(prize.amount, currency)) : [h('strong', prize.minimum ? t('prizes.least', { amount: money(prize.minimum, currency) }) : t('prizes.share', { share: share(prize.share) })),
        prize.minimum ? h('span.muted.small.block', t('prizes.or_share', { share: share(prize.share) })) : null]),
      h('td.num.muted', odds(prize.odds)))))));
}

function showBasket(side, draw, signal) {
  const list = h('ol.basket-lines');
  const empty = h('div.basket-empty', h('p', t('basket.empty')), h('button.button', { type: 'button', onclick: () => added(draw, [{ quick_pick: true }]) }, icon('dice', 20), t('basket.quick')));
  const total = h('strong.total');
  const count = h('span.muted');
  const pay = h('button.button.primary.wide', { type: 'button', onclick: () => checkout(draw) });
  const foot = h('div.basket-foot', h('div.basket-total', count, total), pay);
  const bar = h('div.pay-bar', h('div', h('span.pay-bar-count'), h('strong')), h('button.button.primary', { type: 'button', onclick: () => checkout(draw) }, t('basket.buy')));
  const elsewhere = h('p.muted.small');
  replace(side, h('div.card.basket', h('h2', t('basket.title')), h('p.muted.small', `${lotteryName(draw.lottery)}, ${t('draw.number', { n: draw.number })}`), empty, list, foot, elsewhere), bar);
  basket.watch(() => {
    const lines = linesOf(draw.id);
    const sum = money(lines.length * draw.price, draw.currency);
    replace(list, lines.map((line, index) => h('li', line.numbers ? balls(line.numbers, { size: 'small' }) : h('span.quick-line', emptyBalls(draw.pick, { size: 'small', text: '?' }), h('span.sr', t('line.quick'))),
      h('button.icon-button', { type: 'button', 'aria-label': t('basket.remove', { n: index + 1 }), onclick: () => {
        removeLine(draw.id, index);
        (list.children[Math.min(index, lines.length - 2)]?.querySelector('button') ?? empty.querySelector('button')).focus();
      } }, icon('trash', 20)))));
    empty.hidden = lines.length > 0;
    foot.hidden = bar.hidden = !lines.length;
    document.body.classList.toggle('has-pay-bar', lines.length > 0);
    total.textContent = sum;
    count.textContent = t('lines', { n: lines.length });
    bar.querySelector('strong').textContent = sum;
    bar.querySelector('.pay-bar-count').textContent = t('lines', { n: lines.length });
    pay.textContent = t('basket.pay', { amount: sum });
    const others = Object.keys(basket.value).filter((id) => id !== String(draw.id)).length;
    elsewhere.textContent = others ? t('basket.elsewhere', { n: others }) : '';
  }, signal);
  signal.addEventListener('abort', () => document.body.classList.remove('has-pay-bar'));
}

