"use strict";
// What the pages of the phone do by themselves: all else is htmx's.
document.addEventListener("htmx:configRequest", (event) => {
  const seen = event.target.querySelector?.("[data-seen]");
  if (event.target.matches("[data-poll]") && seen) event.detail.parameters.seen = seen.dataset.seen;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (!event.target.matches("[data-poll]")) return;
  event.target.scrollTop = event.target.scrollHeight;
  const isStranger = event.target.querySelector("[data-stranger]") !== null; // can follow, and nothing else
  for (const part of event.target.closest(".phone").querySelectorAll(".say, .menu")) part.inert = isStranger;
});

document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest("form");
  if (event.detail.successful && event.detail.requestConfig.verb === "post") {
    if (form?.matches(".say, .menu form")) form.reset();
    const phone = event.target.closest(".phone");
    if (form?.matches(".menu form")) for (const menu of phone.querySelectorAll(".menu [open]")) menu.open = false;
    if (phone) htmx.trigger(phone.querySelector("[data-poll]"), "sent");
  }
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches(".say textarea") && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) window.open(opener.dataset.open, "_blank", "noopener");
  const button = event.target.closest(".menu .pressed");
  for (const menu of document.querySelectorAll(".menu details[open]")) {
    if (button || !menu.contains(event.target)) menu.open = false;
  }
  const copier = event.target.closest("[data-copy]");
  if (copier) navigator.clipboard.writeText(document.getElementById(copier.dataset.copy).textContent);
});
