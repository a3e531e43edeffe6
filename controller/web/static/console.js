// Keeps a page live: each new timeline entry reloads the page's body from the server, at most twice a second; the
// ticking durations are counted here. Without JavaScript every page and form works, and does not tick.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  let waiting = null;
  let last = 0;

  const seconds = (text) => {
    const value = Math.max(0, Math.floor(text));
    const pad = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(value / 3600);
    return (hours ? `${hours}:${pad(Math.floor(value / 60) % 60)}` : `${Math.floor(value / 60)}`) + `:${pad(value % 60)}`;
  };
  const skew = main ? Date.now() / 1000 - Number(main.dataset.now) : 0;
  const tick = () => {
    for (const item of document.querySelectorAll("[data-since]")) {
      item.textContent = seconds(Date.now() / 1000 - skew - Number(item.dataset.since));
    }
    for (const item of document.querySelectorAll("[data-until]")) {
      item.textContent = seconds(Number(item.dataset.until) - Date.now() / 1000 + skew);
    }
  };
  setInterval(tick, 1000);
  tick();

  const filter = () => {
    const chosen = document.body.dataset.filter || "all";
    for (const item of document.querySelectorAll(".entries li")) {
      item.hidden = chosen !== "all" && item.dataset.group !== chosen;
    }
    for (const button of document.querySelectorAll("[data-filter-button]")) {
      button.setAttribute("aria-pressed", String(button.dataset.filterButton === chosen));
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-filter-button]");
    if (button) {
      document.body.dataset.filter = button.dataset.filterButton;
      filter();
    }
  });
  // A second click on a form that is under way does nothing.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });
  filter();
  if (!main) return;

  const busy = () => {
    const focused = document.activeElement;
    return focused && main.contains(focused) && focused.matches("input, textarea, select") && focused.value;
  };
  const reload = async () => {
    waiting = null;
    last = Date.now();
    if (busy()) return later();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, cache: "no-store" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") return location.assign(answer.url);
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focus = document.activeElement && document.activeElement.name;
      document.querySelector(".top").replaceWith(page.querySelector(".top"));
      main.innerHTML = page.querySelector("main").innerHTML;
      if (focus) {
        const again = main.querySelector(`[name="${CSS.escape(focus)}"]`);
        if (again) again.focus();
      }
      document.body.classList.remove("disconnected");
      filter();
      tick();
    } catch {
      document.body.classList.add("disconnected");
    }
  };
  const later = () => {
    if (waiting === null) waiting = setTimeout(reload, Math.max(0, 500 - (Date.now() - last)));
  };
  const source = new EventSource(main.dataset.live);
  source.addEventListener("entry", later);
  source.onerror = () => document.body.classList.add("disconnected");
  source.onopen = () => {
    if (document.body.classList.contains("disconnected")) later();
    document.body.classList.remove("disconnected");
  };
  setInterval(() => Date.now() - last > 5000 && later(), 5000);
})();
