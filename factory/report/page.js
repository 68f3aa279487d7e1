"use strict";
// The rule of factory/pairs/selection.py, over columns in which a triplet's candidates stand best first.
const report = (() => {
  const ACCEPTED = 1, FAILED = 2, PAGE = 48, BINS = 60;
  const data = JSON.parse(document.getElementById("data").textContent);
  const KINDS = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, uint16: Uint16Array };
  const bytesOf = text => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  };
  const column = {};
  for (const node of document.querySelectorAll("script.column")) {
    column[node.dataset.name] = new KINDS[node.dataset.kind](bytesOf(node.textContent).buffer);
    node.remove();
  }
  const { triplets, kinds, each } = data;
  const scores = data.similarities.map(one => column[one.name]);
  const [zero, one, direction, image] = scores;
  const { index, state, p, guidance } = column;
  const count = state.length;
  const scale = data.of_triplets / Math.max(1, triplets.length);

  // ---- the rule -------------------------------------------------------------------------------------------
  /** Which candidates are kept by some gates, and what there is to count of it. */
  function judge(gates) {
    const { text, most, borderline } = gates, least = gates.direction, alike = gates.image;
    const kept = new Uint8Array(count);
    const left = { made: 0, clip_sim_0: 0, clip_sim_1: 0, clip_sim_dir: 0, clip_sim_image: 0, kept: 0 };
    const byKind = new Float64Array(kinds.length);
    let close = 0, reused = 0, before = 0, covered = 0, squares = 0;
    for (let t = 0, start = 0; t < triplets.length; t++, start += each) {
      let mine = 0;
      for (let i = start; i < start + each; i++) {
        if (state[i] & ACCEPTED) before++;
        if (state[i] & FAILED) continue;
        left.made++;
        const a = zero[i], b = one[i], d = direction[i], m = image[i];
        if (borderline > 0 && (Math.abs(a - text) <= borderline || Math.abs(b - text) <= borderline
          || Math.abs(d - least) <= borderline || Math.abs(m - alike) <= borderline)) close++;
        if (a < text) continue;
        left.clip_sim_0++;
        if (b < text) continue;
        left.clip_sim_1++;
        if (d < least) continue;
        left.clip_sim_dir++;
        if (m < alike) continue;
        left.clip_sim_image++;
        if (mine >= most) continue;
        mine++;
        kept[i] = 1;
        if (state[i] & ACCEPTED) reused++;
      }
      left.kept += mine;
      squares += mine * mine;
      if (mine) { covered++; byKind[triplets[t][4]] += mine; }
    }
    return { kept, left, byKind, close, reused, covered, squares, before,
      remade: left.kept - reused, dropped: before - reused };
  }
  /** 95 % of a total over all triplets, from its sum and sum of squares over those that are here. */
  function interval(sum, squares) {
    const n = triplets.length, N = data.of_triplets;
    if (N <= n || n < 2) return [sum * scale, sum * scale];
    const spread = Math.max(0, (squares - sum * sum / n) / (n - 1));
    const half = 1.96 * N * Math.sqrt((1 - n / N) * spread / n);
    return [Math.max(0, N * sum / n - half), N * sum / n + half];
  }
  const failing = (i, gates) => {
    if (state[i] & FAILED) return ["failed"];
    const limits = [gates.text, gates.text, gates.direction, gates.image], found = [];
    data.similarities.forEach((s, k) => { if (scores[k][i] < limits[k]) found.push(s.name); });
    return found.length ? found : ["keep"];
  };
  const nameOf = i => `${triplets[Math.floor(i / each)][0]}-${index[i]}`;

  // ---- drawing --------------------------------------------------------------------------------------------
  const make = (tag, fields = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(fields)) {
      if (key in node && key !== "list") node[key] = value; else node.setAttribute(key, value);
    }
    node.append(...children.filter(child => child !== null && child !== undefined));
    return node;
  };
  const at = id => document.getElementById(id);
  const whole = n => Math.round(n).toLocaleString("en");
  const about = n => (scale > 1 ? "≈ " : "") + whole(n);
  const share = (part, all) => all ? `${(100 * part / all).toFixed(1)} %` : "none";
  const score = v => Number.isNaN(v) ? "–" : v.toFixed(3);
  const signed = n => n ? `${n > 0 ? "+" : "−"}${whole(Math.abs(n))}` : "as before";

  let gates = { ...data.gates };
  let now = judge(gates);
  const own = now;
  const isOwn = () => Object.keys(data.gates).every(name => gates[name] === data.gates[name]);

  // What if
  const CONTROLS = [
    { name: "text", words: "text: each picture and its caption, at least", of: [zero, one], set: "thresholds.text" },
    { name: "direction", words: "direction: the edit was done, at least", of: [direction], set: "thresholds.direction" },
    { name: "image", words: "image: the rest was kept, at least", of: [image], set: "thresholds.image" },
    { name: "borderline", words: "borderline: this close to a gate", low: 0, high: 0.05, set: "thresholds.borderline" },
    { name: "most", words: "pairs a triplet, at most", low: 1, high: Math.max(each, data.gates.most), step: 1, set: "keep.most" },
  ];
  const inputs = {};
  const extremes = columns => {
    let low = Infinity, high = -Infinity;
    for (const values of columns) for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    return low > high ? [0, 1] : [low, high];
  };
  for (const control of CONTROLS) {
    if (control.of) {
      const [low, high] = extremes(control.of), value = gates[control.name];
      control.low = Math.max(-1, Math.floor(100 * Math.min(low, value)) / 100);
      control.high = Math.min(1, Math.ceil(100 * Math.max(high, value)) / 100);
    }
    const step = control.step || 0.001, id = `gate-${control.name}`;
    const slider = make("input", { type: "range", id, min: control.low, max: Math.max(control.high, gates[control.name]), step });
    const box = make("input", { type: "number", min: control.step ? 1 : -1, max: control.step ? 10000 : 1, step: control.step || "any" });
    box.setAttribute("aria-label", `${control.words}, as a number`);
    slider.value = box.value = gates[control.name];
    const turn = (from, to) => from.addEventListener("input", () => {
      const value = from.valueAsNumber;
      if (Number.isNaN(value) || !from.checkValidity()) return;
      to.value = value;
      change({ [control.name]: value });
    });
    turn(slider, box);
    turn(box, slider);
    inputs[control.name] = [slider, box];
    at("gates").append(make("label", { htmlFor: id }, control.words), make("div", { className: "pair" }, slider, box));
  }
  at("gates").addEventListener("submit", event => event.preventDefault());
  at("reset").addEventListener("click", () => {
    for (const [name, pair] of Object.entries(inputs)) for (const input of pair) input.value = data.gates[name];
    change({ ...data.gates });
  });

  function showOutcome() {
    const pairs = now.left.kept * scale, change = pairs - own.left.kept * scale;
    const [low, high] = interval(now.left.kept, now.squares);
    const row = (words, value) => [make("span", {}, words), make("span", {}, value)];
    const lines = [
      ...(scale > 1 ? row("95 % between", `${whole(low)} and ${whole(high)}`) : []),
      ...row("of all candidates", share(now.left.kept, count)),
      ...row("triplets with a pair", `${about(now.covered * scale)} (${share(now.covered, triplets.length)})`),
      ...row("as they are", about(now.reused * scale)),
      ...row("to be made again from seeds", about(now.remade * scale)),
      ...row("dropped", about(now.dropped * scale)),
      ...row("borderline candidates", gates.borderline > 0 ? about(now.close * scale) : "not marked"),
    ];
    at("outcome").replaceChildren(
      make("strong", {}, about(pairs)), " pairs ",
      make("span", { className: change > 0 ? "more" : change < 0 ? "less" : "quiet" }, `(${signed(change)})`),
      make("div", { className: "rows" }, ...lines),
    );
    const settings = CONTROLS.filter(c => gates[c.name] !== data.gates[c.name])
      .map(c => ` --set recipe.${c.set}=${gates[c.name]}`).join("");
    at("order").value = settings
      ? `editmill select ${data.run}${settings} --name ANY_NAME` : "these are the run's own gates";
  }

  // Numbers that do not move with the gates but by how many pairs there are
  function showNumbers() {
    const exact = data.figures, cost = data.cost, pairs = isOwn() ? exact.pairs : now.left.kept * scale;
    const tell = n => isOwn() ? whole(n) : about(n);
    const hours = cost.worker_hours, candidates = exact.left.candidates;
    const facts = [
      ["triplets", whole(exact.left.triplets)],
      ["candidates", whole(candidates)],
      ["pairs", tell(pairs)],
      ["kept of all", share(pairs, candidates)],
      ["triplets with a pair", tell(isOwn() ? exact.triplets_kept : now.covered * scale)],
      ["candidates a pair", pairs ? (candidates / pairs).toFixed(1) : "–"],
      ["UNet rows a pair", pairs ? whole(cost.rows / pairs) : "–"],
      ["worker time a pair", pairs ? time(3600 * hours / pairs) : "–"],
      ["worker time in all", time(3600 * hours)],
    ];
    if (cost.cost !== null) {
      facts.push(["cost a pair", pairs ? money(cost.cost / pairs) : "–"], ["cost in all", money(cost.cost)]);
    }
    at("numbers").replaceChildren(
      ...facts.map(([words, value]) => make("div", {}, make("dt", {}, words), make("dd", {}, value))),
    );
  }
  const time = s => s < 90 ? `${s.toFixed(1)} s` : s < 5400 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`;
  const money = n => n < 1 ? n.toPrecision(2) : n.toFixed(2);

  function showFunnel() {
    const exact = data.figures.left, of = isOwn() ? exact : now.left, by = isOwn() ? 1 : scale;
    const steps = data.funnel.filter(step => step.name !== "triplets");
    const candidates = exact.candidates;
    let before = candidates;
    const rows = steps.map(step => {
      const fixed = step.name === "candidates" || step.name === "made";
      const n = fixed ? exact[step.name] : of[step.name] * by, lost = before - n;
      before = n;
      const bar = make("i");
      bar.style.width = `${candidates ? 100 * n / candidates : 0}%`;
      return make("li", {}, make("span", {}, step.words), make("span", { className: "bar" }, bar),
        make("span", { className: "count" }, `${fixed || isOwn() ? whole(n) : about(n)} `,
          make("span", { className: "quiet" }, step.lost && lost ? `${whole(lost)} ${step.lost}` : "")));
    });
    at("funnel").replaceChildren(make("li", {}, make("span", {}, data.funnel[0].words), make("span"),
      make("span", { className: "count" }, whole(exact.triplets), " ",
        make("span", { className: "quiet" }, data.listed))), ...rows);
  }

  const ofKind = new Float64Array(kinds.length);
  for (const triplet of triplets) ofKind[triplet[4]] += each;
  function showKinds() {
    const exact = data.figures.by_kind, top = Math.max(1e-9, ...kinds.map((_, k) => ofKind[k] ? now.byKind[k] / ofKind[k] : 0));
    const rows = kinds.map((kind, k) => {
      const pairs = isOwn() ? exact[kind].pairs : now.byKind[k] * scale, all = exact[kind].candidates;
      const bar = make("i");
      bar.style.width = `${all ? 100 * pairs / all / top : 0}%`;
      return make("tr", {}, make("td", {}, kind), make("td", {}, whole(all)),
        make("td", {}, isOwn() ? whole(pairs) : about(pairs)), make("td", {}, share(pairs, all)),
        make("td", { className: "wide" }, make("div", { className: "bar" }, bar)));
    });
    const head = ["edit kind", "candidates", "pairs", "kept", ""].map(words => make("th", { scope: "col" }, words));
    at("kinds").replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  }

  // Histograms: those of all candidates are drawn once
  const SVG = "http://www.w3.org/2000/svg";
  const svg = (tag, fields) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(fields)) node.setAttribute(key, value);
    return node;
  };
  const bars = (bins, top) => {
    let path = "";
    for (let b = 0; b < BINS; b++) if (bins[b]) path += `M${b} 100V${100 - 98 * bins[b] / top}h.9V100z`;
    return path;
  };
  const measures = [
    ...data.similarities.map((s, k) => ({ words: s.words, values: scores[k], gate: s.gate })),
    { words: "p: share of steps with shared attention", values: p, low: data.p[0], high: data.p[1] },
  ];
  for (const measure of measures) {
    const [low, high] = measure.low === undefined ? extremes([measure.values]) : [measure.low, measure.high];
    measure.low = low; measure.width = (high - low) / BINS || 1;
    measure.bin = i => Math.min(BINS - 1, Math.max(0, Math.floor((measure.values[i] - low) / measure.width)));
    const bins = new Float64Array(BINS);
    for (let i = 0; i < count; i++) if (!(state[i] & FAILED)) bins[measure.bin(i)]++;
    measure.top = Math.max(1, ...bins);
    measure.keptPath = svg("path", { class: "kept" });
    measure.line = svg("line", { class: "gate", y1: 0, y2: 100 });
    const drawing = svg("svg", { viewBox: `0 0 ${BINS} 100`, preserveAspectRatio: "none", role: "img" });
    drawing.setAttribute("aria-label", `histogram of ${measure.words}`);
    drawing.append(svg("path", { class: "all", d: bars(bins, measure.top) }), measure.keptPath);
    if (measure.gate) drawing.append(measure.line);
    measure.note = make("span");
    at("histograms").append(make("figure", {}, make("figcaption", {}, measure.words), drawing,
      make("div", { className: "scale" }, make("span", {}, score(low)), measure.note, make("span", {}, score(high)))));
  }
  function showHistograms() {
    const all = measures.map(() => new Float64Array(BINS));
    const kept = now.kept;
    for (let i = 0; i < count; i++) if (kept[i]) for (let m = 0; m < measures.length; m++) all[m][measures[m].bin(i)]++;
    measures.forEach((measure, m) => {
      measure.keptPath.setAttribute("d", bars(all[m], measure.top));
      if (!measure.gate) return;
      const x = Math.min(BINS, Math.max(0, (gates[measure.gate] - measure.low) / measure.width));
      measure.line.setAttribute("x1", x);
      measure.line.setAttribute("x2", x);
      measure.note.textContent = `gate ${gates[measure.gate]}`;
    });
  }

  // ---- candidates -----------------------------------------------------------------------------------------
  const words = { failed: "could not be made", keep: "better ones filled its triplet" };
  for (const s of data.similarities) words[s.name] = `below the gate: ${s.words}`;
  const filter = {};
  const field = (label, name, node) => {
    filter[name] = node;
    node.addEventListener("input", () => { shown = PAGE; find(); });
    at("filters").append(make("label", node.type === "checkbox" ? { className: "row" } : {},
      ...(node.type === "checkbox" ? [node, label] : [label, node])));
  };
  const choice = options => make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
  const orders = [...data.similarities.map(s => [s.name, s.short]), ["p", "p"], ["guidance", "guidance"]];
  at("filters").addEventListener("submit", event => event.preventDefault());
  field("words of captions or instruction", "words", make("input", { type: "search", id: "search" }));
  field("verdict", "verdict", choice([["", "any"], ["kept", "kept"], ["rejected", "rejected"], ["failed", "failed"],
    ["new", "newly kept by these gates"], ["gone", "dropped by these gates"]]));
  field("reason", "reason", choice([["", "any"], ...Object.entries(words)]));
  field("edit kind", "kind", choice([["", "any"], ...kinds.map((kind, k) => [String(k), kind])]));
  field("where", "measure", choice(orders));
  field("from", "low", make("input", { type: "number", step: "any" }));
  field("to", "high", make("input", { type: "number", step: "any" }));
  field("order", "order", choice([["", "pictures first"],
    ...orders.flatMap(([name, text]) => [[`${name} -1`, `${text}, high first`], [`${name} 1`, `${text}, low first`]])]));
  field("with pictures alone", "pictures", make("input", { type: "checkbox" }));

  // In the order in which the lot drew them.
  const held = new Map(data.pictures), pictured = [...held.keys()];
  let found = [], shown = PAGE;
  const verdictOf = i => now.kept[i] ? "kept" : state[i] & FAILED ? "failed" : "rejected";
  function find() {
    const text = filter.words.value.trim().toLowerCase(), verdict = filter.verdict.value;
    const reason = filter.reason.value, kind = filter.kind.value, values = column[filter.measure.value];
    const low = filter.low.value === "" ? -Infinity : filter.low.valueAsNumber;
    const high = filter.high.value === "" ? Infinity : filter.high.valueAsNumber;
    const ranged = low > -Infinity || high < Infinity;
    const [order, sign] = filter.order.value.split(" ");
    const fits = i => {
      if (verdict === "new" ? !now.kept[i] || state[i] & ACCEPTED : verdict === "gone"
        ? now.kept[i] || !(state[i] & ACCEPTED) : verdict && verdictOf(i) !== verdict) return false;
      if (ranged && !(values[i] >= low && values[i] <= high)) return false;
      return !reason || (!now.kept[i] && failing(i, gates).includes(reason));
    };
    const inTriplet = triplets.map(t => (kind === "" || t[4] === Number(kind))
      && (!text || `${t[0]} ${t[1]} ${t[2]} ${t[3]}`.toLowerCase().includes(text)));
    found = [];
    const take = i => { if (inTriplet[Math.floor(i / each)] && fits(i)) found.push(i); };
    if (filter.pictures.checked || !order) pictured.forEach(take);
    if (!filter.pictures.checked) {
      const skip = order ? new Set() : new Set(pictured);
      for (let t = 0; t < triplets.length; t++) if (inTriplet[t]) {
        for (let i = t * each; i < (t + 1) * each; i++) if (!skip.has(i) && fits(i)) found.push(i);
      }
    }
    if (order) {
      const by = column[order], direct = Number(sign), key = v => Number.isNaN(v) ? Infinity : direct * v;
      found.sort((a, b) => key(by[a]) - key(by[b]) || a - b);
    }
    showGallery();
  }
  function figures(i) {
    return `text ${score(zero[i])} ${score(one[i])} · direction ${score(direction[i])} · image ${score(image[i])}`
      + ` · p ${p[i].toFixed(2)} · guidance ${guidance[i].toFixed(1)}`;
  }
  function pictures(i) {
    const own = held.get(i);
    if (!own || !own.pictures.length) {
      const why = own ? own.remade : state[i] & FAILED ? data.failures[i] || words.failed : "its pictures are not on this page";
      return make("span", { className: "pictures none" }, why);
    }
    return make("span", { className: "pictures" }, ...own.pictures.map((src, k) => {
      const picture = make("img", { src, alt: triplets[Math.floor(i / each)][k ? 3 : 1] });
      if (src.startsWith("data:image/png")) picture.className = "small";
      return picture;
    }));
  }
  function badge(i) {
    const verdict = verdictOf(i);
    const was = state[i] & ACCEPTED ? "kept" : state[i] & FAILED ? "failed" : "rejected";
    return make("span", { className: `badge ${verdict}` }, verdict === was ? verdict : `${verdict}, was ${was}`);
  }
  const why = i => now.kept[i] ? "" : failing(i, gates).map(name => words[name]).join("; ");
  function showGallery() {
    at("found").textContent = `${whole(found.length)} candidates${scale > 1 ? " of those on this page" : ""}, `
      + `${whole(Math.min(shown, found.length))} shown`;
    at("gallery").replaceChildren(...found.slice(0, shown).map((i, number) => {
      const t = triplets[Math.floor(i / each)];
      const card = make("button", { type: "button", className: "card" }, pictures(i),
        make("span", { className: "words" }, badge(i), make("b", {}, t[2]), make("small", {}, why(i)), make("small", {}, figures(i))));
      card.dataset.number = number;
      return make("li", {}, card);
    }));
    at("more").hidden = found.length <= shown;
  }
  at("more").addEventListener("click", () => {
    const first = shown;
    shown += PAGE;
    showGallery();
    at("gallery").children[first]?.firstChild.focus();
  });
  at("gallery").addEventListener("click", event => {
    const card = event.target.closest(".card");
    if (card) open(Number(card.dataset.number));
  });

  // One candidate
  let opened = 0;
  function open(number) {
    opened = Math.max(0, Math.min(found.length - 1, number));
    const i = found[opened], t = triplets[Math.floor(i / each)], mine = held.get(i);
    const limits = [gates.text, gates.text, gates.direction, gates.image];
    const rows = data.similarities.map((s, k) => make("tr", {}, make("td", {}, s.words), make("td", {}, score(scores[k][i])),
      make("td", {}, `at least ${limits[k]}`), make("td", {}, scores[k][i] >= limits[k] ? "passes" : "fails")));
    const line = (label, value) => make("p", {}, make("span", { className: "quiet" }, `${label} `), value);
    const notes = [];
    if (mine && mine.scores) notes.push(`made again here it scored ${mine.scores.map(v => v.toFixed(3)).join(", ")}`);
    else if (mine && mine.remade === "") notes.push("made again from its seed");
    if (!mine) notes.push(`editmill report ${data.run} --out DIR --candidate ${nameOf(i)} shows its pictures`);
    const go = (text, step) => make("button", { type: "button", onclick: () => open(opened + step) }, text);
    at("one").replaceChildren(pictures(i), make("div", { className: "inside" },
      make("h2", {}, t[2]), make("p", {}, badge(i), " ", why(i)),
      line("before:", t[1]), line("after:", t[3]), line("edit kind:", kinds[t[4]]),
      make("table", {}, make("tbody", {}, ...rows)),
      line("candidate", make("code", {}, nameOf(i))), line("drawn:", `p ${p[i].toFixed(4)}, guidance ${guidance[i].toFixed(3)}`),
      ...notes.map(note => make("p", { className: "quiet" }, note)),
      make("nav", {}, go("← previous", -1), go("next →", 1),
        make("button", { type: "button", onclick: () => at("one").close() }, "close"))));
    if (!at("one").open) at("one").showModal();
  }
  at("one").addEventListener("close", () => at("gallery").children[opened]?.firstChild.focus());
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (at("one").open) {
      if (step) { open(opened + step); event.preventDefault(); }
      return;
    }
    if (event.key === "/" && !typing) { filter.words.focus(); event.preventDefault(); return; }
    const card = event.target.closest(".card");
    if (!card) return;
    const cards = [...document.querySelectorAll(".card")];
    const top = cards[0].offsetTop, wide = Math.max(1, cards.findIndex(other => other.offsetTop > top));
    const move = step || { ArrowUp: -wide, ArrowDown: wide }[event.key];
    if (!move) return;
    cards[Number(card.dataset.number) + move]?.focus();
    event.preventDefault();
  });

  // ---- all together ---------------------------------------------------------------------------------------
  let waiting = 0;
  function change(some) {
    gates = { ...gates, ...some };
    now = judge(gates);
    showOutcome();
    showNumbers();
    showFunnel();
    showKinds();
    showHistograms();
    // The gallery follows once a slider rests.
    clearTimeout(waiting);
    waiting = setTimeout(find, 150);
  }
  change({});
  clearTimeout(waiting);
  find();
  const keptNames = () => { const names = []; now.kept.forEach((k, i) => { if (k) names.push(nameOf(i)); }); return names; };
  return { judge, interval, change, keptNames, nameOf, data, failing: i => failing(i, gates), state: () => ({ gates, now, found }) };
})();
