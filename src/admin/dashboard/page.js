// The dashboard: what /v1/pools and /v1/status say, every two seconds, and what /v1/events tells as it
// happens. Text from the API is only ever set as text.
"use strict";
(() => {
  const EVERY = 2000;       // from one look to the next, in ms
  const SPAN = 300e3;       // what charts show, in ms; a sample is taken each EVERY of it at most
  const SHOWN = 100;        // events that are shown
  const EXPIRY = 30 * 86400e3; // certificates that expire sooner are said
  const $ = (id) => document.getElementById(id);
  const rows = new Map();   // which backend of which pool -> what is shown and what was seen of it
  const pools = new Map();  // pool -> its section
  let buckets = [], looked = 0, lastEvent = 0, lostSince = null, stopped = false, listening = false;
  // When the last look that was answered began: from then on nothing is known where the next is not.
  let known = null;
  let deafSince = null, heard = null, hear = () => {};

  // What leaves no mark of its own, so that two names would look alike.
  const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb]|(?! )\p{Zs}/gu;
  const plain = (text) => String(text).replace(UNSEEN, "\ufffd");
  const make = (tag, kind, text) => {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = plain(text);
    return node;
  };
  const put = (node, text) => {
    const said = plain(text);
    if (node.textContent !== said) node.textContent = said;
  };
  const label = (node, text) => node.setAttribute("aria-label", plain(text));
  const say = (text) => put($("said"), text);

  // Each call has the token, if one is known, and ends when it takes too long.
  async function call(method, path, body, signal) {
    const headers = {};
    const token = sessionStorage.getItem("token");
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = signal || AbortSignal.timeout(10000);
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: limit, cache: "no-store" });
    if (answer.status === 401) {
      login(Boolean(token));
      throw new Error("a token is needed");
    }
    return answer;
  }
  async function get(path) {
    const answer = await call("GET", path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
  }

  function login(wrong) {
    stopped = true;
    $("login").hidden = false;
    $("main").hidden = true;
    if (wrong) say("This token is not the right one.");
    sessionStorage.removeItem("token");
    $("token").focus();
  }
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value.trim());
    $("token").value = "";
    $("login").hidden = true;
    $("main").hidden = false;
    stopped = false;
    say("");
    look();
    listen();
  });

  // Honest about what is shown: when nothing is heard, it is said since when.
  function lost(why) {
    lostSince = lostSince || known || new Date();
    put($("lost"), `Connection lost since ${lostSince.toLocaleTimeString()} (${why}). What is shown below is what was known then.`);
    $("lost").hidden = false;
    document.body.classList.add("stale");
  }
  function found(begun) {
    known = begun;
    if (!lostSince) return;
    lostSince = null;
    $("lost").hidden = true;
    document.body.classList.remove("stale");
    hear();
  }
  // Looks may go on without events: then states are known, and what happened between is not.
  function deaf(why) {
    deafSince = deafSince || heard || new Date();
    const since = deafSince.toLocaleTimeString();
    put($("deaf"), `No events since ${since} (${why}). States are asked for every two seconds; what happened in between is not known.`);
    put($("unknown"), `What happened since ${since} is not known: no events are heard.`);
    $("deaf").hidden = $("unknown").hidden = false;
  }
  function hears() {
    heard = new Date();
    if (!deafSince) return;
    deafSince = null;
    $("deaf").hidden = $("unknown").hidden = true;
  }

  // ---- rows
  function poolOf(pool) {
    let section = pools.get(pool.name);
    if (section) return section;
    const node = make("section", "pool");
    node.dataset.pool = pool.name;
    const title = make("h2");
    const name = make("span", "", pool.name), sum = make("small");
    title.append(name, " ", sum);
    const list = make("div", "rows");
    list.setAttribute("role", "list");
    const head = make("div", "row head");
    for (const text of ["backend", "state", "weight", "active", "req/s", "requests a second", "p50, p99 ms", ""]) {
      head.append(make("span", "", text));
    }
    head.setAttribute("aria-hidden", "true");
    list.append(head);
    node.append(title, list);
    $("pools").append(node);
    section = { node, sum, list };
    pools.set(pool.name, section);
    return section;
  }
  function chart(second) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const paths = (second ? ["", "second"] : [""]).map((kind) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      if (kind) path.setAttribute("class", kind);
      svg.append(path);
      return path;
    });
    return { svg, paths };
  }
  const seen = new IntersectionObserver((all) => {
    for (const one of all) {
      const row = one.target.row;
      row.visible = one.isIntersecting;
      if (row.visible) draw(row);
    }
  });
  // Of several with one name and address, as of those that leave, the nth.
  function rowOf(pool, member, nth) {
    const key = JSON.stringify([pool, member.name, member.addr, member.removed, nth]);
    let row = rows.get(key);
    if (row) return row;
    const node = make("div", "row");
    node.setAttribute("role", "listitem");
    node.dataset.pool = pool;
    node.dataset.backend = member.name;
    const who = make("div", "who"), addr = make("small", "", member.addr);
    who.append(make("span", "", member.name), addr);
    const how = make("div", "how"), state = make("span", "state"), why = make("small");
    how.append(state, why);
    const cell = (kind, label) => {
      const node = make("div", kind);
      node.dataset.label = label;
      return node;
    };
    const number = (label) => cell("number", label);
    const drawn = (chart, label) => {
      const node = cell("chart", label);
      node.append(chart.svg);
      return node;
    };
    const weight = number("weight"), active = number("active"), rate = number("req/s");
    const requests = chart(false), times = chart(true);
    const does = make("div", "does");
    const toggle = make("button", "toggle"), input = make("input"), set = make("button", "set", "set");
    toggle.type = set.type = "button";
    input.type = "number";
    input.min = 0;
    input.max = 1000;
    label(input, `weight of ${member.name}`);
    label(set, `set the weight of ${member.name}`);
    does.append(toggle, input, set);
    node.append(who, how, weight, active, rate, drawn(requests, "requests a second"), drawn(times, "p50, p99 ms"), does);
    row = { node, state, why, weight, active, rate, requests, times, toggle, input, set, samples: [], visible: false, member, pool };
    node.row = row;
    toggle.addEventListener("click", () => change(row, { state: row.member.state === "drain" ? "up" : "drain" }));
    set.addEventListener("click", () => {
      // What is no number is "", too: neither is a word of the operator's.
      if (input.value === "") return say(`${pool}/${row.member.name}: not done: a weight is a whole number from 0 to 1000`);
      change(row, { weight: Number(input.value) });
    });
    rows.set(key, row);
    seen.observe(node);
    return row;
  }
  async function change(row, body) {
    const name = `${row.pool}/${row.member.name}`;
    const path = `/v1/pools/${encodeURIComponent(row.pool)}/backends/${encodeURIComponent(row.member.name)}`;
    if (row.busy) return;
    busy(row, true);
    try {
      const answer = await call("PATCH", path, body);
      const said = await answer.json();
      say(answer.ok ? `${name}: ${said.state}, weight ${said.weight}` : `${name}: ${said.detail}`);
      row.said = performance.now();
      if (answer.ok) show(row, { ...row.member, ...said });
    } catch (error) {
      say(`${name}: not done: ${error.message}`);
    } finally {
      busy(row, false);
    }
  }
  // Not `disabled`, which takes the focus away from who works by keyboard.
  function busy(row, is) {
    row.busy = is;
    for (const button of [row.toggle, row.set]) button.setAttribute("aria-disabled", String(is));
  }

  // ---- numbers
  const sum = (all) => all.reduce((a, b) => a + b, 0);
  // The time below which a share of what was counted lies, in ms, within its bucket in proportion.
  function quantile(counts, share) {
    const all = sum(counts);
    if (!all) return null;
    let left = all * share;
    for (let i = 0; i < counts.length; i++) {
      if (counts[i] >= left) {
        const low = i ? buckets[i - 1] : 0, high = i < buckets.length ? buckets[i] : low;
        return 1000 * (low + (high - low) * (counts[i] ? left / counts[i] : 0));
      }
      left -= counts[i];
    }
    return 1000 * buckets[buckets.length - 1];
  }
  // A sample where it is time for one: looks between, which events bring, are none. Whether it was taken.
  function count(row, member, now) {
    const before = row.last;
    if (before && now - before.at < EVERY - 50) return false;
    row.last = { at: now, tries: member.tries, latency: member.latency };
    if (!before || sum(member.tries) < sum(before.tries)) return false;
    const tries = member.tries.map((n, i) => n - before.tries[i]);
    const latency = member.latency.map((n, i) => Math.max(0, n - before.latency[i]));
    const all = sum(tries), bad = tries[0] + tries[5];
    row.samples.push({
      at: now, rate: all / ((now - before.at) / 1000), errors: all ? bad / all : 0,
      p50: quantile(latency, .5), p99: quantile(latency, .99),
    });
    while (row.samples[0].at < now - SPAN) row.samples.shift();
    return true;
  }
  function line(path, samples, of, most) {
    let d = "";
    for (const sample of samples) {
      const value = of(sample);
      if (value === null) continue;
      const x = 100 - 100 * (looked - sample.at) / SPAN, y = 28 - 26 * (most ? value / most : 0);
      d += `${d ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(1)}`;
    }
    path.setAttribute("d", d);
  }
  const shown = (value) => value === null || value === undefined ? "–" : value < 10 ? value.toFixed(1) : Math.round(value).toString();
  function draw(row) {
    const last = row.samples[row.samples.length - 1];
    if (!last) return;
    const most = (of) => Math.max(...row.samples.map((s) => of(s) || 0));
    const rate = (s) => s.rate, p50 = (s) => s.p50, p99 = (s) => s.p99;
    line(row.requests.paths[0], row.samples, rate, most(rate));
    line(row.times.paths[0], row.samples, p50, most(p99));
    line(row.times.paths[1], row.samples, p99, most(p99));
    label(row.requests.svg, `${shown(last.rate)} requests a second`);
    label(row.times.svg, `p50 ${shown(last.p50)} ms, p99 ${shown(last.p99)} ms`);
  }

  const since = (text) => {
    const s = Math.max(0, (Date.now() - Date.parse(text)) / 1000);
    if (s < 90) return `${Math.round(s)} s`;
    if (s < 5400) return `${Math.round(s / 60)} min`;
    return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
  };
  function show(row, member) {
    row.member = member;
    put(row.state, member.state);
    const kind = `state ${member.state}`;
    if (row.state.className !== kind) row.state.className = kind;
    const probe = member.health && member.health.last === "fail" ? `, ${member.health.detail}` : "";
    const by = member.said_by === "file" ? "" : `, by the ${member.said_by}`;
    put(row.why, `${member.reason}${member.reason ? ", " : ""}${since(member.since)}${probe}${by}`);
    put(row.weight, String(member.weight));
    put(row.active, String(member.active));
    const last = row.samples[row.samples.length - 1];
    put(row.rate, last ? `${shown(last.rate)}${last.errors ? ` (${(last.errors * 100).toFixed(1)} % errors)` : ""}` : "–");
    put(row.toggle, member.state === "drain" ? "undrain" : "drain");
    label(row.toggle, `${row.toggle.textContent} ${member.name}`);
    if (document.activeElement !== row.input && row.input.value !== String(member.weight)) row.input.value = member.weight;
    row.toggle.hidden = row.input.hidden = row.set.hidden = member.removed;
  }

  function notes(status) {
    const all = [];
    if (status.last_reload && status.last_reload.result === "failure") {
      all.push(`The last reload, ${status.last_reload.at}, was refused: ${status.last_reload.problems.join("; ")}`);
    }
    for (const pid of status.hand_over.draining) {
      all.push(`Process ${pid}, which served before, still drains: its work is not counted here`);
    }
    for (const key of status.needs_restart) all.push(`${key} needs a restart`);
    for (const one of status.covered.slice(0, 20)) {
      all.push(`${one.pool}/${one.backend}: ${one.key} ${one.api} by the API${one.file === null ? "" : `, over the file's ${one.file}`}`);
    }
    if (status.covered.length > 20) all.push(`and ${status.covered.length - 20} more words of the API`);
    for (const one of status.certificates) {
      if (Date.parse(one.not_after) - Date.now() < EXPIRY) {
        all.push(`The certificate ${one.subject} of ${one.listener} expires at ${one.not_after}`);
      }
    }
    $("notes").hidden = !all.length;
    $("notes").replaceChildren(...all.map((text) => make("p", "", text)));
  }

  // One at a time, so that no older answer is ever shown over a newer one.
  let timer = 0, looking = false, again = false;
  async function look() {
    clearTimeout(timer);
    if (stopped) return;
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    const asked = performance.now();
    try {
      const [status, all] = await Promise.all([get("/v1/status"), get("/v1/pools")]);
      const begun = looked = performance.now(), at = new Date();
      buckets = status.buckets;
      put($("facts"), `${status.version}, ${status.stage}, generation ${status.generation}, ${status.connections} connections, up ${since(new Date(Date.now() - status.uptime_seconds * 1000).toISOString())}`);
      notes(status);
      const here = new Set();
      for (const pool of all.pools) {
        const section = poolOf(pool);
        const up = pool.members.filter((m) => m.state === "up" || m.state === "slow_start").length;
        put(section.sum, `${pool.policy}, ${up} of ${pool.members.length} work`);
        here.add(section);
        const added = document.createDocumentFragment();
        for (const member of pool.members) {
          let row, nth = 0;
          do row = rowOf(pool.name, member, nth++); while (here.has(row));
          const counted = count(row, member, begun);
          // What was said since by this page is newer.
          if (!(row.said > asked)) show(row, member);
          if (counted && row.visible) draw(row);
          here.add(row);
          if (!row.node.parentNode) added.append(row.node);
        }
        section.list.append(added);
      }
      for (const [key, row] of rows) if (!here.has(row)) { seen.unobserve(row.node); row.node.remove(); rows.delete(key); }
      for (const [key, section] of pools) if (!here.has(section)) { section.node.remove(); pools.delete(key); }
      found(at);
      if (!document.body.dataset.ready) {
        // Painted: after the frame that follows.
        requestAnimationFrame(() => setTimeout(() => {
          document.body.dataset.paint = (performance.now() - begun).toFixed(1);
          document.body.dataset.ready = "1";
        }));
      }
    } catch (error) {
      if (!stopped) lost(error.message);
    }
    timer = setTimeout(look, again ? 100 : EVERY);
    looking = again = false;
  }

  // ---- events
  function happened(kind, data, number) {
    lastEvent = number || lastEvent;
    const item = make("li");
    const time = make("time", "", data.at ? new Date(data.at).toLocaleTimeString() : "");
    let text = `${kind} ${JSON.stringify(data)}`;
    if (kind === "turn" || kind === "ejection") {
      text = `${data.pool}/${data.backend}: ${data.from} to ${data.to}${data.reason ? `, ${data.reason}` : ""}${data.detail ? ` (${data.detail})` : ""}`;
    } else if (kind === "reload") {
      text = data.result === "success" ? `reload: generation ${data.generation}` : `reload refused: ${data.problems.join("; ")}`;
    } else if (kind === "registration") {
      text = `${data.pool}/${data.backend}: ${data.what} by the API`;
    } else if (kind === "listener") {
      text = `listener ${data.listener}: ${data.what}`;
    } else if (kind === "gap") {
      text = `${data.missed ?? "some"} events were missed`;
    }
    item.append(time, plain(text));
    const list = $("events");
    list.prepend(item);
    while (list.childElementCount > SHOWN) list.lastElementChild.remove();
    if (kind !== "gap") soon();
  }
  let waiting = 0;
  function soon() {
    // A hundred turns at once are one look.
    if (!waiting) waiting = setTimeout(() => { waiting = 0; look(); }, 100);
  }
  async function listen() {
    if (listening) return;
    listening = true;
    let wait = 1000;
    while (!stopped) {
      const cut = new AbortController();
      let quiet = setTimeout(() => cut.abort(), 40000);
      try {
        const answer = await call("GET", `/v1/events?last=${lastEvent}`, undefined, cut.signal);
        if (!answer.ok) throw new Error(`/v1/events: ${answer.status}`);
        hears();
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        wait = 1000;
        for (;;) {
          const { value, done } = await reader.read();
          if (done) throw new Error("the stream ended");
          hears();
          clearTimeout(quiet);
          quiet = setTimeout(() => cut.abort(), 40000);
          text += value;
          const parts = text.split("\n\n");
          text = parts.pop();
          for (const part of parts) {
            let kind = "", data = "", number = 0;
            for (const field of part.split("\n")) {
              if (field.startsWith("event: ")) kind = field.slice(7);
              else if (field.startsWith("data: ")) data = field.slice(6);
              else if (field.startsWith("id: ")) number = Number(field.slice(4));
            }
            if (kind) happened(kind, JSON.parse(data), number);
          }
        }
      } catch (error) {
        if (!stopped) deaf(error.message);
      }
      clearTimeout(quiet);
      // From the last one heard on; where the process is another one it says what was missed.
      await new Promise((done) => { hear = done; setTimeout(done, wait); });
      wait = Math.min(10000, wait * 2);
    }
    listening = false;
  }
  look();
  listen();
})();
