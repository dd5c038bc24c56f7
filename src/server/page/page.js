// Shows what /status answers, and asks again. Only text is ever put into the page, never markup.
'use strict';

const EVERY = 2000;
const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  if (kind) element.className = kind;
  return element;
};
const row = (cells) => {
  const line = make('tr');
  cells.forEach((cell) => {
    const box = make('td', undefined, cell && cell.number ? 'number' : undefined);
    const parts = cell && cell.number !== undefined ? [cell.number] : [cell];
    parts.forEach((part) => box.append(part instanceof Node ? part : document.createTextNode(part ?? '')));
    line.append(box);
  });
  return line;
};
const fill = (id, rows, none) => {
  const body = at(id);
  const columns = body.closest('table').querySelectorAll('thead th').length;
  if (rows.length === 0) {
    const empty = make('td', none, 'faint');
    empty.colSpan = columns;
    const line = make('tr');
    line.append(empty);
    rows = [line];
  }
  body.replaceChildren(...rows);
};
const code = (text) => make('code', text);
const verdict = (ok, yes = 'ok', no = 'not ok') => make('span', ok ? yes : no, ok ? 'good' : 'bad');

const span = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
};
const local = (instant) => (instant ? new Date(instant).toLocaleString() : '');
const until = (instant, now) => {
  const left = (new Date(instant) - now) / 1000;
  return left >= 0 ? `in ${span(left)}` : `${span(-left)} ago`;
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
const chart = (id, series, words) => {
  const NS = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(NS, 'svg');
  svg.setAttribute('viewBox', '0 0 100 40');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', words);
  const base = document.createElementNS(NS, 'line');
  Object.entries({ x1: 0, x2: 100, y1: 39, y2: 39 }).forEach(([name, value]) => base.setAttribute(name, value));
  svg.append(base);
  const top = Math.max(1e-9, ...series.flatMap((one) => one.values));
  series.forEach((one) => {
    const line = document.createElementNS(NS, 'polyline');
    const step = one.values.length > 1 ? 100 / (one.values.length - 1) : 0;
    const scale = one.top ?? top;
    const points = one.values.map((value, n) => `${(n * step).toFixed(2)},${(39 - (37 * value) / scale).toFixed(2)}`);
    if (points.length === 1) points.push(`100,${points[0].split(',')[1]}`);
    line.setAttribute('points', points.join(' '));
    if (one.second) line.setAttribute('class', 'second');
    svg.append(line);
  });
  at(id).replaceChildren(svg, make('p', words, 'faint'));
};

const show = (status) => {
  const { facts, checks, storage } = status;
  const now = new Date(status.now);
  const ready = status.ready ? 'ready' : 'not ready';
  document.title = `apono-connector: ${ready}`;
  at('verdict').replaceChildren(verdict(status.ready, 'ready', 'not ready'));
  at('about').textContent =
    `${facts.connector_id}, version ${facts.version}, running for ${span((now - new Date(facts.started_at)) / 1000)}; ` +
    `journal ${bytes(storage.state_bytes)}, audit trail ${bytes(storage.audit_bytes)}, ` +
    `${bytes(storage.free_bytes)} free, memory ${bytes(storage.process.resident_bytes)}`;
  fill('checks', checks.map((check) => row([check.name, verdict(check.ok), check.message,
    { number: check.age_seconds === undefined ? '' : `${check.age_seconds} s` }])), 'none');
  fill('organizations', facts.organizations.map((one) => {
    const run = one.last_directory_run;
    const progress = one.directory && one.directory.progress;
    const directory = progress ? 'a run goes on' : run ? `${run.outcome}: ${run.message}` : 'no run yet';
    const budget = one.budget.map(([bucket, limit, left]) => `${bucket} ${left}/${limit}`).join(', ');
    return row([one.integration_id, one.organization_url, one.token.state.replaceAll('_', ' '),
      { number: one.live_memberships }, { number: one.removals_due }, directory, budget]);
  }), 'no organization is configured');
  fill('grants', status.live_grants.map((grant) => row([code(grant.grant_id), grant.username,
    grant.groups.map((group) => `${group.group_id}: ${group.state}`).join(', '),
    grant.over ? verdict(false, '', `over since ${local(grant.over.due)}`)
      : grant.expires_at ? `${until(grant.expires_at, now)} (${local(grant.expires_at)})` : 'until it is revoked'])),
  'no grant is live');
  fill('endings', status.recent_endings.map((end) => row([local(end.at), code(end.grant_id), code(end.group_id),
    end.how.replaceAll('_', ' '), { number: end.late_seconds === null ? '' : span(end.late_seconds) },
    code(end.okta_request_ids.join(' '))])), 'none since the start');

  const history = status.history;
  const last = history.length > 0 ? history[history.length - 1] : undefined;
  if (last) {
    const since = local(history[0].at);
    chart('chart-grants', [{ values: history.map((one) => one.live) }, { values: history.map((one) => one.due), second: true }],
      `${last.live} memberships held now, ${last.due} removals due; at most ` +
      `${Math.max(...history.map((one) => one.live))} held since ${since}`);
    const names = Object.keys(last.budget_left);
    const least = names.map((name) => Math.min(...history.map((one) => one.budget_left[name] ?? 1)));
    chart('chart-budget', names.map((name, n) => ({ values: history.map((one) => one.budget_left[name] ?? 1), top: 1, second: n % 2 === 1 })),
      names.length === 0 ? 'Okta was not asked yet'
        : names.map((name, n) => `${name}: ${Math.round(last.budget_left[name] * 100)} % of the scarcest limit left, ` +
          `${Math.round(least[n] * 100)} % at the least`).join('; '));
  }
};

let announced = '';
const ask = async () => {
  try {
    const answer = await fetch('status', { cache: 'no-store' });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const status = await answer.json();
    show(status);
    at('freshness').textContent = `as of ${local(status.now)}, asked every ${EVERY / 1000} s`;
    const verdictNow = status.ready ? 'The connector is ready.' : 'The connector is not ready.';
    // Spoken only when it changes.
    if (verdictNow !== announced) at('announcement').textContent = verdictNow;
    announced = verdictNow;
  } catch (error) {
    at('freshness').textContent = `the connector does not answer (${error.message}); what is shown may be old`;
    if (announced !== 'lost') at('announcement').textContent = 'The connector does not answer.';
    announced = 'lost';
  }
  setTimeout(ask, EVERY);
};
ask();
