// Keeps a page live: each new timeline entry fetches the page again, at most twice a second, and what differs of its
// regions is put in place. Durations are counted on here. Without JavaScript every page and form works, and stands still.
"use strict";
(() => {
  const main = document.getElementById("main");
  document.documentElement.classList.add("scripted");

  const two = (number) => String(number).padStart(2, "0");
  const counted = (text) => {
    const whole = Math.max(0, Math.floor(text));
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(whole % 60)}`;
  };
  // The server's clock counts: a phone's may be minutes off.
  let skew = main.dataset.now ? Date.now() / 1000 - Number(main.dataset.now) : 0;
  const tick = () => {
    const now = Date.now() / 1000 - skew;
    for (const item of document.querySelectorAll("[data-since]")) item.textContent = counted(now - Number(item.dataset.since));
    for (const item of document.querySelectorAll("[data-until]")) item.textContent = counted(Number(item.dataset.until) - now);
  };

  let chosen = "all";
  const filter = () => {
    for (const item of document.querySelectorAll(".entries li[data-group]")) item.hidden = chosen !== "all" && item.dataset.group !== chosen;
    for (const button of document.querySelectorAll("[data-filter-button]")) button.setAttribute("aria-pressed", String(button.dataset.filterButton === chosen));
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-filter-button]");
    if (!button) return;
    chosen = button.dataset.filterButton;
    filter();
  });

  // A second click on a form that is under way does nothing; coming back to the page makes it usable again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    if (event.submitter) event.submitter.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  });

  const regions = (page) => new Map([...page.querySelectorAll("[data-region]")].map((item) => [item.dataset.region, item]));
  // As the server sent them, but for what is counted: the document's own have been counted on and filtered since.
  const bare = (region) => {
    const copy = region.cloneNode(true);
    for (const item of copy.querySelectorAll("[data-since], [data-until]")) item.textContent = "";
    return copy.outerHTML;
  };
  const sent = new Map([...regions(document)].map(([name, item]) => [name, bare(item)]));

  if (!main.dataset.live) return;
  setInterval(tick, 1000);

  const forms = (region) => [...region.querySelectorAll("form")].map((form) => form.getAttribute("action")).join(" ");
  // Somebody writes in it, or has sent it: it is left alone, unless what it was for is gone.
  const busy = (region) =>
    region.querySelector("form[data-sent]") ||
    [...region.querySelectorAll("input:not([type=hidden]), select")].some((field) => field === document.activeElement || (field.value || "") !== (field.defaultValue || ""));
  const put = (name, old, fresh) => {
    if (busy(old) && forms(old) === forms(fresh)) return;
    const held = old.contains(document.activeElement) ? document.activeElement : null;
    const same = held && (held.form ? `form[action="${CSS.escape(held.form.getAttribute("action"))}"] ${held.localName}` : held.href ? `a[href="${CSS.escape(held.getAttribute("href"))}"]` : "");
    sent.set(name, bare(fresh));
    const placed = document.importNode(fresh, true);
    old.replaceWith(placed);
    const again = same && placed.querySelector(same);
    if (again) again.focus({ preventScroll: true });
  };

  let waiting = null;
  let last = 0;
  let asking = false;
  const later = () => {
    if (waiting === null && !asking) waiting = setTimeout(refresh, Math.max(0, 500 - (Date.now() - last)));
  };
  const connected = (yes) => document.body.classList.toggle("disconnected", !yes);
  let missed = false;
  const refresh = async () => {
    waiting = null;
    last = Date.now();
    asking = true;
    missed = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(8000) });
      if (answer.redirected && new URL(answer.url).pathname === "/login") return location.assign(answer.url);
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = regions(page);
      for (const [name, old] of regions(document)) {
        if (fresh.has(name) && bare(fresh.get(name)) !== sent.get(name)) put(name, old, fresh.get(name));
      }
      skew = Date.now() / 1000 - Number(page.getElementById("main").dataset.now || Date.now() / 1000);
      document.title = page.title;
      connected(true);
      filter();
      tick();
    } catch {
      connected(false);
    } finally {
      asking = false;
      if (missed) later();
    }
  };

  let source = null;
  let address = main.dataset.live;
  const listen = () => {
    source = new EventSource(address);
    source.addEventListener("entry", (event) => {
      const next = new URL(address, location.href);
      next.searchParams.set("after", event.lastEventId);
      address = next.pathname + next.search;
      if (asking) missed = true;
      later();
    });
    source.onopen = later;
    source.onerror = () => {
      connected(false);
      // A refusal closes it for good; a lost connection is tried again by the browser.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    };
  };
  listen();
  // What no timeline entry tells: health, lag, counters. And after a sleep, everything.
  setInterval(() => Date.now() - last > 4000 && !document.hidden && later(), 4000);
  document.addEventListener("visibilitychange", () => document.hidden || later());
})();
