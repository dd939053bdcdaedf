"use strict";
// Index: the table of window.FEATURES, searched and sorted. Pages: keys. Text enters by textContent alone.
(function () {
  const index = document.body.dataset.page === "index";
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.tagName === "INPUT";
    if (index) {
      if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); search.select(); }
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        const links = [...body.querySelectorAll("a")];
        const at = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
        if (at === links.length && !more.hidden) { draw(); links.push(...[...body.querySelectorAll("a")].slice(at)); }
        if (at >= 0 && at < links.length) { event.preventDefault(); links[at].focus(); }
        else if (at < 0) { search.focus(); }
      }
    } else if (!typing) {
      const target = { ArrowLeft: "prev", ArrowRight: "next", i: "up" }[event.key];
      const link = target && document.getElementById(target);
      if (link) link.click();
    }
  });
  if (!index) return;

  const STEP = 300;
  const { digits, features } = window.FEATURES;
  const search = document.getElementById("search"), count = document.getElementById("count");
  const body = document.querySelector("#features tbody"), more = document.getElementById("more");
  const heads = [...document.querySelectorAll("th button")];
  const explained = features.some((f) => f.explanation), scored = features.some((f) => f.score !== null);
  // a token is found as the table shows it, ␣ and all, and as one types it
  const text = features.map(function (f) {
    const tokens = [...f.fires_on, ...f.promotes].join("\n");
    return [tokens, tokens.replaceAll("␣", " "), f.explanation || ""].join("\n").toLowerCase();
  });
  let order = features.map((_, i) => i), shown = 0, key = "feature", down = false;

  for (const cell of document.querySelectorAll("th.explanation")) cell.hidden = !explained;
  for (const head of heads) if (head.dataset.sort === "score") head.parentElement.hidden = !scored;

  function cell(row, content, hidden) {
    const td = row.insertCell();
    td.hidden = Boolean(hidden);
    if (content instanceof Node) td.append(content); else td.textContent = content;
  }
  function words(tokens) {
    const all = document.createDocumentFragment();
    for (const token of tokens) {
      const code = document.createElement("code");
      code.textContent = token;
      all.append(code, " ");
    }
    return all;
  }
  function number(x) { return x === null ? "" : String(Number(x.toPrecision(3))); }
  function draw() {
    for (const i of order.slice(shown, shown + STEP)) {
      const f = features[i], row = body.insertRow(), link = document.createElement("a");
      link.href = "feature/" + String(f.feature).padStart(digits, "0") + ".html";
      link.textContent = f.feature;
      cell(row, link);
      for (const name of ["rate", "effective_degree", "effect"]) cell(row, number(f[name]));
      cell(row, number(f.score), !scored);
      cell(row, words(f.fires_on));
      cell(row, words(f.promotes));
      cell(row, f.explanation || "", !explained);
    }
    shown = Math.min(shown + STEP, order.length);
    more.hidden = shown === order.length;
  }
  function refresh() {
    const wanted = search.value.toLowerCase();
    order = features.map((_, i) => i).filter((i) =>
      !wanted.trim() || String(features[i].feature) === wanted.trim() || text[i].includes(wanted));
    order.sort((a, b) => {
      const x = features[a][key], y = features[b][key];
      if (x === null || y === null) return (x === null) - (y === null);  // without a number: always last
      return (down ? y - x : x - y) || features[a].feature - features[b].feature;
    });
    count.textContent = order.length + " of " + features.length;
    for (const head of heads) {
      const own = head.dataset.sort === key;
      head.parentElement.setAttribute("aria-sort", own ? (down ? "descending" : "ascending") : "none");
    }
    body.replaceChildren();
    shown = 0;
    draw();
  }
  for (const head of heads) head.addEventListener("click", function () {
    down = key === head.dataset.sort ? !down : head.dataset.sort !== "feature";
    key = head.dataset.sort;
    refresh();
  });
  search.addEventListener("input", refresh);
  more.addEventListener("click", draw);
  document.getElementById("find").addEventListener("submit", function (event) {
    event.preventDefault();
    const first = body.querySelector("a");
    if (first) first.click();
  });
  refresh();
})();
