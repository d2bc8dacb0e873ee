// What moves on the console's pages: the time left, and the live figures. It asks this worker only, and sends nothing.

const LIVE_MS = 2000;
const byId = (id) => document.getElementById(id);
const say = (id, text) => { byId(id).textContent = text; };

function leftText(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  return `${days} d ${two(hours % 24)} h ${two(minutes % 60)} min ${two(seconds % 60)} s`;
}

// The worker says how much is left by the brokers' time. Of this computer's clock only what has passed since counts, so
// it may be wrong, and the computer may sleep.
function countDown(timer) {
  const end = Date.now() + Number(timer.dataset.leftMs);
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    timer.textContent = leftText(Math.max(0, left));
    if (left <= 0) {
      clearInterval(ticking);
      say("over", "The time is over. Look the account up again to see whether it was extended.");
    }
  };
  const ticking = setInterval(tick, 250);
}

function addLocalTime(element) {
  const moment = new Date(element.dateTime);
  if (moment.getTimezoneOffset() === 0) {
    return;
  }
  const local = document.createElement("span");
  local.className = "local";
  local.textContent = ` (${moment.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })} here)`;
  element.after(local);
}

const count = (number) => number.toLocaleString("en");
const age = (seconds) => (seconds < 120 ? `${seconds.toFixed(1)} s` : leftText(Math.floor(seconds)));

function show(figures, before) {
  const decided = (one) => one.approved + one.rejected;
  if (before && figures.at_seconds > before.at_seconds) {
    const rate = (decided(figures) - decided(before)) / (figures.at_seconds - before.at_seconds);
    say("rate", rate >= 10 || rate === 0 ? count(Math.round(rate)) : rate.toFixed(1));
  }
  say("decided", count(decided(figures)));
  say("frozen", count(figures.frozen_accounts));
  say("undecided", count(figures.undecided_records));
  say("oldest", age(figures.undecided_seconds));
  say("unapplied", count(figures.unapplied_records));
  say("workers", figures.workers === null ? "not known" : count(figures.workers));
  say("partitions", figures.partitions.join(", ") || "none");
}

// A screen reader hears a change of state once, and none of the figures.
function tell(text, kind) {
  const state = byId("state");
  if (state.textContent !== text) {
    state.textContent = text;
    state.className = `notice ${kind}`;
  }
}

function list(problems) {
  byId("problems").replaceChildren(...problems.map((problem) => {
    const item = document.createElement("li");
    item.textContent = problem;
    return item;
  }));
}

function keepUp(from) {
  let before = null, paused = false;
  const look = async () => {
    try {
      const answer = await fetch(from, { signal: AbortSignal.timeout(2 * LIVE_MS) });
      if (answer.status === 401) {
        tell("You are signed out: sign in again to see more.", "bad");
        return;
      }
      const figures = await answer.json();
      show(figures, before);
      before = figures;
      list(figures.problems);
      if (figures.problems.length) {
        tell("This worker approves nothing at present:", "bad");
      } else {
        tell("This worker is ready: its freeze table is current and it decides.", "well");
      }
    } catch {
      before = null;
      tell("This worker does not answer; the figures below are old.", "bad");
    }
  };
  const loop = async () => {
    if (!paused && !document.hidden) {
      await look();
    }
    setTimeout(loop, LIVE_MS);
  };
  byId("pause").addEventListener("click", (event) => {
    paused = !paused;
    before = null;
    event.target.setAttribute("aria-pressed", String(paused));
    if (paused) {
      tell("Paused: the figures stand still.", "");
    }
  });
  loop();
}

document.querySelectorAll("time").forEach(addLocalTime);
if (byId("left")) {
  countDown(byId("left"));
}
if (byId("figures")) {
  keepUp(byId("figures").dataset.from);
}
