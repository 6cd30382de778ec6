"""One answer per message, however slow its handler, whatever dies.

The promise. WeChat delivers a message up to three times, 5 seconds apart. Whichever processes and machines these
deliveries reach: the handler runs once, and the fan gets its answer once. Silence is said only when it was decided,
never because time ran out. A delivery that cannot be answered is held until its caller hangs up.

A message, from its first delivery to its answer:

    claimed ── runs ──┬── ready in time ─────────────────────── "reply": every delivery gets it
                      │
                      ├── ready while no caller could take it ── "waiting": the next delivery carries it,
                      │                                           or after 6 s the late delivery does
                      │
                      └── not ready when the last delivery ───── "late": that delivery gets silence or the
                          runs out of time                        hold reply; the late delivery carries it

    its process dies at any point: the next delivery claims the next run; when none is left to come,
    another process takes the message over as an orphan

A delivery, in the process that it reached:

    arrives ──┬── the answer is known ────────────────────────── answered
              ├── it claims the message, few handlers run ────── the handler runs inline, then answered
              └── otherwise ── held ──┬── the answer is known ── answered, unless the caller may just have hung up
                                      ├── it is the last, and out of time ── silence or the hold reply
                                      ├── the caller hangs up ── dropped
                                      ├── the owner of the run dies ── claims the next run
                                      └── 60 s pass ── dropped, with a line in the log

All keys of the cache, each below the account (KEY is ``message:`` and the message's identity):

    KEY                      claim: the process that runs the handler, and since when; set once
    KEY:2, KEY:3             the further deliveries, counted; set once
    KEY:run2, KEY:run3, …    claims of processes that ran it again after the one before had died; set once
    KEY:answer               decision: ["reply", body], ["waiting", body] or ["late"]; set once
    KEY:carrier              who carries an answer that is "waiting" or "late": a delivery, or one late delivery;
                             set once; "delivered" once a delivery has brought it; before, a delivery whose caller
                             turns out to have gone gives it back
    KEY:orphan               the message's fields, signed, while its process may die with it
    KEY:late                 the answer, kept until it is decided that a pickup word is answered with it
    KEY:taker                which pickup word takes it, and since when
    process:NAME             heartbeat of a process, another value twice a second
    process:NAME:orphans     the keys of the messages that would be orphans if NAME died
    process:all              the names of all processes
    late:OPENID              the fan's queue of answers to pick up, and its lock (late:OPENID:lock)
    late:closed              customer-service messages are not tried for a while
    left:OPENID              when the fan left
"""
