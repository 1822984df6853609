"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- colours: those of the system, or as chosen -------------------------------------------------------------
  const THEMES = { automatic: "", light: "light", dark: "dark" };
  const themeButton = document.getElementById("theme");
  let theme = "automatic";

  function setTheme(name) {
    theme = name in THEMES ? name : "automatic";
    if (THEMES[theme]) root.dataset.theme = THEMES[theme];
    else delete root.dataset.theme;
    themeButton.textContent = `Colours: ${theme}`;
    try {
      localStorage.setItem("facealign-theme", theme);
    } catch {
      // Where a file may keep nothing, the choice lasts as long as the page.
    }
    drawCharts();
  }

  function chosenTheme() {
    try {
      return localStorage.getItem("facealign-theme") ?? "automatic";
    } catch {
      return "automatic";
    }
  }

  /** The colour that a variable of the style sheet stands for now. */
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  // --- charts --------------------------------------------------------------------------------------------------
  const DASHES = [[], [8, 4], [2, 3], [10, 4, 2, 4]];
  const PRINTED_WIDTH = 660;
  const drawn = new Map(); // the element of a chart -> its uPlot

  const short = (value) =>
    value == null ? "–" : Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-4)
      ? value.toExponential(2) : String(+value.toPrecision(4));
  const big = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(value));

  /** The nearest place to `index` where a curve has a value; `index` itself beyond the curve's ends. */
  function measuredAt(values, index) {
    if (values[index] != null) return index;
    let [low, high] = [index, index];
    while (low >= 0 && values[low] == null) low -= 1;
    while (high < values.length && values[high] == null) high += 1;
    if (low < 0 || high === values.length) return index;
    return index - low <= high - index ? low : high;
  }

  function options(chart, element, width) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
    const ced = element.dataset.kind === "ced";
    const unit = ced ? " %" : "";
    return {
      width,
      height: width < 500 ? 260 : ced ? 380 : 300,
      scales: {
        x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
        y: ced ? { range: [0, 100] } : chart.logarithmic ? { distr: 3 } : {},
      },
      axes: [
        { ...axis, label: chart.x_label, labelSize: 24, values: (_, ticks) => ticks.map(big) },
        {
          ...axis,
          label: ced ? chart.y_label : undefined,
          labelSize: 24,
          size: 62,
          values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : short(tick))),
        },
      ],
      series: [
        { label: ced ? "error" : "iteration", value: (_, x) => (x == null ? "–" : `${ced ? x.toFixed(2) : x}${unit}`) },
        ...chart.series.map((one, index) => ({
          label: one.label,
          stroke: colour(`--c${index % 8}`),
          width: 2,
          dash: DASHES[Math.floor(index / 8) % DASHES.length],
          spanGaps: true,
          points: { show: !ced && one.y.filter((y) => y !== null).length < 60, size: 5, fill: colour(`--c${index % 8}`) },
          value: (_, y) => (y == null ? "–" : `${short(y)}${unit}`),
        })),
      ],
      cursor: {
        y: false,
        dataIdx: (plot, series, index) => measuredAt(plot.data[series], index),
        drag: { x: !ced, y: false },
        ...(element.dataset.group ? { sync: { key: element.dataset.group } } : {}),
      },
    };
  }

  function drawChart(element, width = element.clientWidth - 8) {
    drawn.get(element)?.destroy();
    drawn.delete(element);
    if (width <= 60) return; // hidden: drawn when it is shown
    const chart = charts[element.dataset.kind][Number(element.dataset.index)];
    const data = [chart.x, ...chart.series.map((one) => one.y)];
    const plot = new uPlot(options(chart, element, width), data, element);
    drawn.set(element, plot);
    for (const [index, entry] of all(".u-legend .u-series", element).entries()) {
      if (index === 0) continue;
      const label = entry.querySelector("th");
      const say = () => label.setAttribute("aria-pressed", String(plot.series[index].show));
      Object.assign(label, { tabIndex: 0, role: "button" });
      label.addEventListener("click", say);
      label.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        label.click();
      });
      say();
    }
  }

  function drawCharts(width) {
    for (const element of all(".plot")) drawChart(element, width);
  }

  /** Arrow keys move the cursor of a chart; what is there is said. */
  function readByKeys(element) {
    const said = document.createElement("p");
    said.className = "visually-hidden";
    said.setAttribute("aria-live", "polite");
    element.after(said);
    element.addEventListener("keydown", (event) => {
      const plot = drawn.get(element);
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!plot || steps === undefined || event.target !== element) return;
      event.preventDefault();
      const x = plot.data[0];
      const stride = Math.max(1, Math.round(x.length / 120));
      const at = plot.cursor.idx ?? (steps > 0 ? -stride : x.length);
      const index = Math.max(0, Math.min(x.length - 1, at + steps * stride));
      plot.setCursor({ left: plot.valToPos(x[index], "x"), top: 10 }, true, true);
      said.textContent = all(".u-legend .u-series", element).map((one) => one.textContent).join(", ");
    });
  }

  function startCharts() {
    const watcher = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const plot = drawn.get(target);
        if (!plot || Math.abs(plot.width - (target.clientWidth - 8)) > 1) drawChart(target);
      }
    });
    for (const element of all(".plot")) {
      readByKeys(element);
      watcher.observe(element);
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts());
  }

  /** Radio buttons of which each shows one of several parts of the page. */
  function startChoices() {
    for (const field of all(".choices")) {
      const parts = all(`.choice[data-group="${field.dataset.group}"]`);
      const show = () => {
        const chosen = field.querySelector("input:checked").value;
        for (const part of parts) part.hidden = part.dataset.choice !== chosen;
      };
      field.hidden = false;
      field.addEventListener("change", show);
      show();
    }
  }

  // --- tables that are sorted by a column ----------------------------------------------------------------------
  function valueOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? text : number;
  }

  /** Order of two values: numbers, then texts; what is absent last in either direction. */
  function compare(a, b, sign) {
    const absent = (value) => value === "" || value === "-" || value === "absent";
    if (absent(a) || absent(b)) return absent(a) - absent(b);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    if (typeof a !== typeof b) return typeof a === "number" ? -sign : sign;
    return sign * a.localeCompare(b, undefined, { numeric: true });
  }

  function makeSortable(table) {
    const heads = all("thead th", table);
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [valueOf(row, head.cellIndex), row]);
        rows.sort(([a], [b]) => compare(a, b, descending ? -1 : 1));
        body.append(...rows.map(([, row]) => row));
      });
    }
  }

  // --- faces ---------------------------------------------------------------------------------------------------
  const form = document.querySelector("#faces form");
  const gallery = document.querySelector("ol.faces");
  const zoom = document.getElementById("zoom");
  const view = zoom.querySelector(".zoom-view");
  const DRAWN = ["truth", "predicted", "gaps"];
  const KEYS = { a: "truth", p: "predicted", d: "gaps" };
  let enlarged = null;
  let factor = 1;

  const method = () => Number(form.elements.method?.value ?? 0);

  function measures(face) {
    const parse = (text) => (text === "missed" ? Infinity : Number.parseFloat(text));
    const errors = face.dataset.error.trim().split(" ").map(parse);
    const overlaps = face.dataset.overlap.trim().split(" ").map(parse);
    const chosen = method();
    const change = errors[chosen] - errors[0];
    return {
      error: errors[chosen],
      change: Number.isNaN(change) ? (errors[chosen] === errors[0] ? 0 : NaN) : change,
      overlap: overlaps[chosen],
      yaw: parse(face.dataset.yaw),
      pitch: parse(face.dataset.pitch),
      size: parse(face.dataset.size),
      path: face.dataset.path,
    };
  }

  function isWanted(face) {
    const { set, folder, text } = form.elements;
    if (set.value === "random" && face.dataset.random !== "1") return false;
    if (set.value === "worst" && !face.dataset.worst.split(" ").includes(String(method()))) return false;
    if (folder.value !== "*" && face.dataset.folder !== folder.value) return false;
    return face.dataset.path.toLowerCase().includes(text.value.trim().toLowerCase());
  }

  function showMethod(within) {
    const chosen = String(method());
    for (const part of all("[data-of]", within)) part.toggleAttribute("hidden", part.dataset.of !== chosen);
  }

  /** Draw what the check boxes say, in the list and on the enlarged face. */
  function showDrawn() {
    for (const name of DRAWN) {
      const { checked } = form.elements[name];
      for (const part of [gallery, view]) part.classList.toggle(name, checked);
      zoom.querySelector(`[data-toggle=${name}]`).setAttribute("aria-pressed", String(checked));
    }
  }

  function toggleDrawn(name) {
    form.elements[name].checked = !form.elements[name].checked;
    showDrawn();
  }

  function showFaces() {
    const [key, sign] = form.elements.order.value.split(":");
    const absent = (value) => (Number.isNaN(value) ? "" : value);
    const faces = all(".face", gallery).map((face) => [absent(measures(face)[key]), face]);
    faces.sort(([a, one], [b, other]) =>
      a === b ? one.dataset.path.localeCompare(other.dataset.path) : compare(a, b, sign === "-" ? -1 : 1));
    let count = 0;
    for (const [, face] of faces) {
      face.hidden = !isWanted(face);
      count += !face.hidden;
    }
    gallery.append(...faces.map(([, face]) => face));
    showMethod(gallery);
    showDrawn();
    form.querySelector(".count").textContent = `${count} ${count === 1 ? "face" : "faces"}`;
  }

  const neighbour = (step) => {
    const shown = all(".face:not([hidden])", gallery).filter((face) => face.querySelector(".enlarge"));
    return shown[shown.indexOf(enlarged) + step];
  };

  function enlarge(face) {
    enlarged = face;
    zoom.querySelector("h2").textContent = face.dataset.path;
    const picture = face.querySelector("svg").cloneNode(true);
    picture.setAttribute("aria-label", picture.getAttribute("aria-label").replace("Enlarge ", ""));
    view.replaceChildren(picture);
    const words = all("p:not(.path)", face).map((part) => part.cloneNode(true));
    for (const part of words.flatMap((one) => all("[data-of]", one))) {
      part.removeAttribute("hidden");
      for (const name of all(".visually-hidden", part)) name.classList.remove("visually-hidden");
      part.style.display = "block";
    }
    zoom.querySelector(".zoom-figures").replaceChildren(...words);
    showDrawn();
    zoom.querySelector("[data-do=previous]").disabled = !neighbour(-1);
    zoom.querySelector("[data-do=next]").disabled = !neighbour(1);
    setFactor(1);
  }

  function setFactor(value) {
    factor = Math.max(1, Math.min(8, value));
    view.style.setProperty("--zoom", factor);
    zoom.querySelector("[data-do=smaller]").disabled = factor === 1;
    zoom.querySelector("[data-do=larger]").disabled = factor === 8;
    view.scrollTo((view.scrollWidth - view.clientWidth) / 2, (view.scrollHeight - view.clientHeight) / 2);
  }

  function go(step) {
    const face = neighbour(step);
    if (face) enlarge(face);
  }

  const ACTIONS = {
    close: () => zoom.close(),
    previous: () => go(-1),
    next: () => go(1),
    larger: () => setFactor(factor * 1.5),
    smaller: () => setFactor(factor / 1.5 < 1.1 ? 1 : factor / 1.5),
  };

  function onZoomKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const still = factor === 1; // an enlarged face is moved by the arrows
    const action = { "+": "larger", "=": "larger", "-": "smaller" }[key]
      ?? (still ? { arrowleft: "previous", arrowright: "next" }[key] : undefined);
    if (action) ACTIONS[action]();
    else if (key in KEYS) toggleDrawn(KEYS[key]);
    else return;
    event.preventDefault();
  }

  function startFaces() {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", showFaces);
    form.addEventListener("reset", () => setTimeout(showFaces));
    gallery.addEventListener("click", (event) => {
      const face = event.target.closest(".enlarge")?.closest(".face");
      if (!face) return;
      zoom.showModal();
      enlarge(face);
    });
    zoom.addEventListener("click", (event) => {
      if (event.target === zoom) zoom.close();
      const { do: action, toggle } = event.target.closest("button")?.dataset ?? {};
      if (action) ACTIONS[action]();
      if (toggle) toggleDrawn(toggle);
    });
    zoom.addEventListener("keydown", onZoomKey);
    zoom.addEventListener("close", () => enlarged?.querySelector(".enlarge").focus());
    showFaces();
  }

  // --- printing: light, the tables of the charts unfolded --------------------------------------------------------------------
  let unfolded = [];
  addEventListener("beforeprint", () => {
    root.style.colorScheme = "light";
    unfolded = all("details.printed:not([open])");
    for (const one of unfolded) one.open = true;
    drawCharts(PRINTED_WIDTH);
  });
  addEventListener("afterprint", () => {
    root.style.colorScheme = "";
    for (const one of unfolded) one.open = false;
    drawCharts();
  });

  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(theme) + 1) % names.length]);
  });
  startChoices();
  setTheme(chosenTheme());
  startCharts();
  for (const table of all("table.sortable")) makeSortable(table);
  if (form) startFaces();
})();
