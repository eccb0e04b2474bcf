"""What a queue is: commands are decided into facts, and facts are applied to the state.

There is no clock here, no disk, no thread and no Dask. ``decide(queue, command, now)`` reads the state and
answers with a reply and facts; ``apply(queue, fact)`` is the only way to change the state, live and on
replay. The unit of everything is a run of sequences ``[first, last)``: a million pending messages are one
entry.

    runs         arithmetic of runs; RunMap, sorted disjoint runs with a value each
    tally        how often a message was tried and lost
    commands     what can be asked of a queue, and the replies
    facts        what can have happened to it
    producers    which puts were seen before
    timers       what is due later: delayed messages, expiry, deadlines of leases
    ready        messages that may run now, by priority
    groups       whose turn it is in each group
    keys         which keys are taken, and until when
    queue        the state; the states of a message, and the table of transitions
    special      what only messages with terms have, and how they wait because of it
    decide       the rules: (queue, command, now) -> (reply, facts)
    lending      ... of leases: who gets what, extension, expiry, loss
    settling     ... of receipts: ack, nack, release, crash, stop
    apply        the changes: (queue, fact)
    encode       facts to bytes and back
    snapshot     the state to plain lists and back; the part that each segment carries
    reads        questions that change nothing
    backoff      how long a message waits before its next try
    invariants   what must hold after every fact
"""
