"use strict";
(() => {
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  document.documentElement.classList.add("js");

  // Tables sort by a click on a head; what has no value stays at the end whichever way.
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sort = (table, head) => {
    const heads = all("thead th", table), column = heads.indexOf(head), before = head.getAttribute("aria-sort");
    const falling = before ? before === "ascending" : head.dataset.falling === "1";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0], value = (row) => row.cells[column].dataset.v;
    const known = [], rest = [];
    for (const row of body.rows) (value(row) === undefined ? rest : known).push(row);
    known.sort((a, b) => (falling ? -1 : 1) * compare(value(a), value(b)));
    body.append(...known, ...rest);
  };
  all("table.sortable").forEach((table) => {
    all("thead th button", table).forEach((button) => {
      button.addEventListener("click", () => { sort(table, button.closest("th")); show(); });
    });
  });

  // The trials: words that must occur, axis=value that must hold, states that are wanted, and no more rows than asked.
  const trials = document.getElementById("all-trials"), most = 50;
  const rows = trials ? all("tbody tr", trials) : [];
  const byTrial = new Map(rows.map((row) => [row.dataset.t, row]));
  const input = document.getElementById("filter"), more = document.getElementById("more");
  const chips = all(".chip");
  let everything = false;
  const holds = (row, word) => {
    const [name, values] = word.split("=");
    if (values === undefined) return row.dataset.s.includes(word);
    return values.split(",").some((value) => row.dataset.s.includes(`|${name}=${value}|`));
  };
  const hits = all(".hit");
  function show() {
    if (!trials) return;
    const words = (input ? input.value : "").toLowerCase().split(/\s+/).filter((word) => word && !word.endsWith("="));
    const off = new Set(chips.filter((c) => c.getAttribute("aria-pressed") === "false").map((c) => c.dataset.status));
    let matched = 0, shown = 0;
    const kept = new Set();
    for (const row of trials.tBodies[0].rows) {
      const fits = !off.has(row.dataset.status) && words.every((word) => holds(row, word));
      matched += fits;
      const visible = fits && (everything || shown < most);
      shown += visible;
      if (fits) kept.add(row.dataset.t);
      row.classList.toggle("hidden", !visible);
    }
    if (more) {
      more.textContent = `show all ${matched.toLocaleString("en")}`;
      more.classList.toggle("hidden", shown === matched);
    }
    const count = document.getElementById("matched");
    if (count) count.textContent = matched === rows.length ? "" : `${matched} of ${rows.length} trials`;
    const picked = words.length > 0;
    all("svg.linked").forEach((svg) => svg.classList.toggle("dim", picked));
    hits.forEach((hit) => hit.classList.toggle("on", picked && kept.has(hit.dataset.t)));
  }
  if (input) input.addEventListener("input", () => { everything = false; show(); });
  if (more) more.addEventListener("click", () => { everything = true; show(); });
  chips.forEach((chip) => chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "false" ? "true" : "false");
    show();
  }));
  show();

  // Words at what is pointed at: points of the charts, cells of the heat maps.
  const tip = document.createElement("div");
  tip.className = "tip hidden";
  document.body.append(tip);
  const told = (what) => what.dataset.tip || (byTrial.get(what.dataset.t) || { dataset: {} }).dataset.tip;
  const place = (event) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - box.width - 6);
    const top = event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  };
  const clear = () => {
    tip.classList.add("hidden");
    all(".hit.lit").forEach((hit) => hit.classList.remove("lit"));
  };
  document.addEventListener("pointerover", (event) => {
    const what = event.target.closest && event.target.closest("[data-tip], .hit");
    clear();
    if (!what || what.tagName === "TR" || !told(what)) return;
    tip.textContent = told(what);
    tip.classList.remove("hidden");
    place(event);
    if (what.dataset.t) hits.filter((hit) => hit.dataset.t === what.dataset.t).forEach((hit) => hit.classList.add("lit"));
  });
  document.addEventListener("pointermove", (event) => { if (!tip.classList.contains("hidden")) place(event); });
  if (trials) trials.addEventListener("pointerover", (event) => {
    const row = event.target.closest("tr");
    if (row) hits.filter((hit) => hit.dataset.t === row.dataset.t).forEach((hit) => hit.classList.add("lit"));
  });
  hits.forEach((hit) => hit.addEventListener("click", () => {
    const row = byTrial.get(hit.dataset.t);
    if (!row) return;
    if (row.classList.contains("hidden")) { everything = true; if (input) input.value = ""; show(); }
    row.scrollIntoView({ block: "center" });
    row.classList.remove("flash");
    void row.offsetWidth;
    row.classList.add("flash");
  }));

  // Where the page lies in a frame without an address, links within it would lead out of it.
  all("nav a").forEach((link) => link.addEventListener("click", (event) => {
    const goal = document.getElementById(link.getAttribute("href").slice(1));
    if (goal) { event.preventDefault(); goal.scrollIntoView(); }
  }));

  const select = (code) => getSelection().selectAllChildren(code);
  all(".copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {  // a frame may not write to the clipboard
      select(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }));

  // On paper nothing can be unfolded or scrolled to.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details.paper:not([open])").slice(0, 12);
    opened.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
})();
