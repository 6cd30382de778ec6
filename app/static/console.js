"use strict";
// What the console's pages do beside htmx: say what went wrong, and ask before leaving what is not saved.
const notice = (text) => { document.getElementById("notice").textContent = text; };

document.addEventListener("htmx:beforeRequest", () => notice(""));
document.addEventListener("htmx:responseError", (event) => notice(event.detail.xhr.responseText.slice(0, 500)));
document.addEventListener("htmx:sendError", () => notice(document.body.dataset.unreachable || "no answer"));
