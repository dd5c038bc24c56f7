// Shows what /status answers, and asks again. Only text is ever put into the page, never markup.
'use strict';

const EVERY = 2000;
// Whoever takes longer does not answer.
const LIMIT = 5000;
const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  if (kind) element.className = kind;
  return element;
};

// What has not changed stays as it is, so that what somebody has marked to copy stays marked.
const keep = (parent, wanted, alike = (one, other) => one.isEqualNode(other)) => {
  wanted.forEach((node, n) => {
    const there = parent.children[n];
    if (!there) parent.append(node);
    else if (!alike(there, node)) there.replaceWith(node);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
};
const say = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };

const number = (text) => make('td', text, 'number');
const code = (text) => make('code', text);
// Of text and elements. The first cell names the row.
const row = (cells) => {
  const line = make('tr');
  cells.forEach((cell, n) => {
    const is = cell instanceof HTMLTableCellElement;
    const box = is ? cell : make(n === 0 ? 'th' : 'td');
    if (!is) box.append(cell ?? '');
    if (n === 0) box.scope = 'row';
    line.append(box);
  });
  return line;
};
const lines = (texts, kind) => {
  const box = make('td', undefined, kind);
  texts.forEach((text) => box.append(make('div', text)));
  return box;
};
const fill = (id, rows, none) => {
  const body = at(id);
  if (rows.length === 0) {
    const empty = make('td', none, 'faint');
    empty.colSpan = body.closest('table').querySelectorAll('thead th').length;
    rows = [make('tr')];
    rows[0].append(empty);
  }
  const same = (one, other) => {
    if (one.children.length !== other.children.length) return false;
    keep(one, [...other.children]);
    return true;
  };
  keep(body, rows, same);
};
const mark = (ok, text) => make('span', text, ok ? 'good' : 'bad');

const span = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
};
const late = (seconds) => (seconds < 9.95 ? `${seconds.toFixed(1)} s` : span(seconds));
// The day is named where it is another.
const local = (instant) => {
  const [then, now] = [new Date(instant), new Date()];
  return then.toDateString() === now.toDateString() ? then.toLocaleTimeString() : then.toLocaleString();
};
const moment = (instant) => {
  const element = make('time', local(instant));
  element.dateTime = instant;
  return element;
};
const bytes = (count) => {
  if (count === null || count === undefined) return 'unknown';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let n = count;
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n < 10 && unit > 0 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
};

// Lines over time, in a box of 100 by 40; the figure's own text says the same in words.
const draw = (tag, values) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
  return element;
};
const chart = (id, series, since, words) => {
  const svg = draw('svg', { viewBox: '0 0 100 40', preserveAspectRatio: 'none', role: 'img', 'aria-label': words });
  series.forEach(({ values, top, kind }, n) => {
    const all = values.length > 1 ? values : [values[0], values[0]];
    const points = all.map((value, i) => `${((100 * i) / (all.length - 1)).toFixed(2)},${(39 - (37 * value) / top).toFixed(2)}`);
    if (n === 0) svg.append(draw('polygon', { points: `0,40 ${points.join(' ')} 100,40` }));
    svg.append(draw('polyline', { points: points.join(' '), class: kind }));
  });
  const axis = make('p', undefined, 'axis faint');
  axis.setAttribute('aria-hidden', 'true');
  axis.append(make('span', since), make('span', 'now'));
  keep(at(id), [svg, axis, make('p', words, 'faint')]);
};
const charts = (history) => {
  if (history.length === 0) return;
  const last = history[history.length - 1];
  const since = local(history[0].at);
  const most = Math.max(...history.map((one) => one.live));
  const top = Math.max(1, most, ...history.map((one) => one.due));
  chart('chart-grants', [{ values: history.map((one) => one.live), top, kind: 'held' },
    { values: history.map((one) => one.due), top, kind: 'due' }], since,
  `${last.live} held at the last full minute, at most ${most} since ${since}; dashed: ${last.due} removals due`);
  const names = [...new Set(history.flatMap((one) => Object.keys(one.budget_left)))].sort();
  const share = (value) => `${Math.round(value * 100)} %`;
  const words = names.map((name) => {
    const values = history.map((one) => one.budget_left[name] ?? 1);
    return `${name}: ${share(values[values.length - 1])} left of the scarcest, ${share(Math.min(...values))} at the least`;
  });
  chart('chart-budget', names.map((name, n) => ({ values: history.map((one) => one.budget_left[name] ?? 1), top: 1,
    kind: ['first', 'second', 'third'][n % 3] })), since, words.join('; ') || 'Okta was not asked yet');
};

// A duration as /status has it.
const seconds = ({ secs, nanos }) => secs + nanos / 1e9;
// Gone ones that are shown: each run of a daemon leaves one for a day.
const GONE = 10;
// The daemons that share the state; nothing where it is this one's alone.
const fleet = (facts) => {
  const { fleet: shared, organizations } = facts;
  at('fleet').hidden = !shared;
  if (!shared) return;
  const { database, answers, entries_behind: behind } = shared;
  const heard = seconds(shared.heard);
  const state = mark(answers, answers ? 'answers' : `does not answer; it last did ${span(heard)} ago`);
  const rest = answers ? '' : ' What is below was so then; what is known ends on time, and nothing begins.';
  keep(at('database'), [make('span', `${database}: `), state, make('span', `; ${behind} entries of others not read yet.${rest}`)]);
  const is = (daemon) => daemon.id === shared.this_daemon;
  const there = shared.daemons.filter((daemon) => daemon.lives || is(daemon));
  const gone = shared.daemons.filter((daemon) => !there.includes(daemon))
    .sort((one, other) => seconds(one.silent) - seconds(other.silent));
  fill('daemons', [...there, ...gone.slice(0, GONE)].map((daemon) => {
    const owned = organizations.filter(({ owner }) => owner && owner.daemon === daemon.id);
    const word = is(daemon) ? mark(true, 'this one') : mark(daemon.lives, daemon.lives ? 'yes' : 'gone');
    return row([daemon.host, word, daemon.version, moment(daemon.started_at),
      number(`${span(heard + (is(daemon) ? 0 : seconds(daemon.silent)))} ago`),
      lines(owned.map((one) => `${one.integration_id}, epoch ${one.owner.epoch}`)), code(daemon.id)]);
  }), 'none is known');
};
// Whose an organization's directory is, and how its last run went.
const directory = ({ owner, last_directory_run: run, directory: going }, shared) => {
  const last = run ? `${run.outcome}: ${run.message}` : 'no run yet';
  const now = going && going.progress ? 'a run goes on' : last;
  if (!shared) return [now];
  if (!owner) return ['nobody has taken it yet'];
  if (owner.is_this) {
    const known = owner.lives ? '' : ', which cannot know whether it is still';
    return [`by this daemon, epoch ${owner.epoch}${known}`, now];
  }
  const lost = owner.lives ? '' : ', which is gone; nobody has taken over yet';
  const whose = `by the daemon on ${owner.host ?? 'a host that is gone'}, epoch ${owner.epoch}${lost}`;
  return run ? [whose, `the last run here, while it was this daemon's, ${last}`] : [whose];
};

// The connector's clock, which is what counts, goes on between two answers.
let clock = () => Date.now();
// Elements that count down, and to when.
let ends = [];
const tick = () => {
  ends.forEach(([element, instant]) => {
    const left = (new Date(instant) - clock()) / 1000;
    element.textContent = left <= 0 ? 'now' : element.id === 'next' ? span(left) : `in ${span(left)}`;
  });
};

const show = (status) => {
  const { facts, checks, storage } = status;
  const now = new Date(status.now);
  const asked = performance.now();
  clock = () => Number(now) + performance.now() - asked;
  const failing = checks.filter((check) => !check.ok);
  const count = (of) => facts.organizations.reduce((sum, one) => sum + one[of], 0);
  say('about', `${facts.connector_id}, version ${facts.version}, running for ${span((now - new Date(facts.started_at)) / 1000)}; ` +
    `journal ${bytes(storage.state_bytes)}, audit trail ${bytes(storage.audit_bytes)}, ` +
    `${bytes(storage.free_bytes)} free, memory ${bytes(storage.process.resident_bytes)}`);
  say('held', String(count('live_memberships')));
  say('due', String(count('removals_due')));
  say('holding', `${checks.length - failing.length} of ${checks.length}`);
  at('due').className = count('removals_due') > 0 ? 'bad' : '';
  at('holding').className = failing.length > 0 ? 'bad' : '';
  say('results', String(facts.results_pending));
  at('reasons').hidden = failing.length === 0;
  keep(at('reasons'), failing.map((check) => make('li', `${check.name}: ${check.message}`)));

  fill('checks', checks.map((check) => row([check.name, mark(check.ok, check.ok ? 'yes' : 'no'), check.message,
    number(check.age_seconds === undefined ? '' : span(check.age_seconds))])), 'none');
  fill('organizations', facts.organizations.map((one) => {
    return row([one.integration_id, one.organization_url, one.token.state.replaceAll('_', ' '),
      number(one.live_memberships), number(one.removals_due),
      lines(directory(one, facts.fleet)),
      lines(one.budget.map(([bucket, limit, left]) => `${bucket} ${left} of ${limit}`), 'limits')]);
  }), 'no organization is configured');
  fleet(facts);

  const next = status.live_grants.find((grant) => !grant.over && grant.expires_at);
  ends = next ? [[at('next'), next.expires_at]] : [];
  if (!next) say('next', 'none');
  fill('grants', status.live_grants.map((grant) => {
    const end = make('td', 'when it is revoked', 'ends');
    if (grant.over) end.replaceChildren(mark(false, `over for ${span((now - new Date(grant.over.due)) / 1000)}`));
    return row([grant.username, lines(grant.groups.map((group) => `${group.group_id}: ${group.state}`)), end,
      grant.expires_at ? moment(grant.expires_at) : '', code(grant.grant_id)]);
  }), 'no grant is live');
  status.live_grants.forEach((grant, n) => {
    if (!grant.over && grant.expires_at) ends.push([at('grants').rows[n].cells[2], grant.expires_at]);
  });
  tick();
  fill('endings', status.recent_endings.map((end) => row([moment(end.at), end.how.replaceAll('_', ' '),
    number(end.late_seconds === null ? '' : late(end.late_seconds)), code(end.user_id), code(end.group_id), code(end.grant_id),
    lines(end.okta_request_ids, 'ids')])), 'none since the start');
  charts(status.history);
};

// Said aloud only when it changes.
let announced = '';
const announce = (ok, text, aloud) => {
  document.title = `apono-connector: ${text}`;
  say('verdict', text);
  at('verdict').className = `pill ${ok ? 'good' : 'bad'}`;
  if (aloud !== announced) at('announcement').textContent = aloud;
  announced = aloud;
};
const ask = async () => {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error(`nothing within ${LIMIT / 1000} s`)), LIMIT);
  try {
    const answer = await fetch('status', { cache: 'no-store', signal: limit.signal });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const status = await answer.json();
    show(status);
    say('freshness', `as of ${local(status.now)}, asked every ${EVERY / 1000} s`);
    announce(status.ready, status.ready ? 'ready' : 'not ready', `The connector is ${status.ready ? 'ready' : 'not ready'}.`);
  } catch (error) {
    say('freshness', `The connector does not answer (${error.message}). What is shown was so then, and may be old.`);
    announce(false, 'no answer', 'The connector does not answer.');
  }
  clearTimeout(timer);
  setTimeout(ask, EVERY);
};
setInterval(tick, 1000);
ask();
