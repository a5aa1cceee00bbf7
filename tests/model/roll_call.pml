/* SPDX-License-Identifier: BSD-2-Clause
 *
 * roll_call - masters that follow each other, and the workers between them.
 *
 * explore.c takes it for granted that there is one master at a time and that it
 * does what it does in one step. Here neither is: several masters are started
 * whenever somebody likes, race for the lock, are killed between any two steps
 * (also between spawning a worker and writing it down), execute a new program, or
 * cannot start and go back to the one before. Workers lose their master, say
 * HELLO late, and one may die. Sockets are handed over as policy.c has it.
 *
 *   locked     run_dir/musterd.lock: ends with the process, and with the program
 *   file       run_dir/cluster.state: who there is
 *   bound      run_dir/control.sock: of which master, by its number, 0: nobody
 *   up, down   the control connections: what was sent to a master that is gone
 *              is lost, what it had sent is still read
 *
 * Checked: never two masters in charge; no worker that serves is refused; nobody
 * stops polling what nobody else polls, unless a worker died or gave up; and when nothing
 * happens any more, either a master is in charge and each slot has exactly one
 * worker, which it knows and which alone polls the slot, or there is neither
 * master nor worker.
 *
 * With -DMUTATION=1 to 4 a rule is broken on purpose, and spin has to find it.
 */
#ifndef MUTATION
#define MUTATION 0
#endif
#define WRITE_ON_READY (MUTATION == 1)   /* a worker is written down when it is READY */
#define NO_LOCK (MUTATION == 2)          /* whoever starts is in charge */
#define BELIEVE_FILE (MUTATION == 3)     /* what is written down counts, not what HELLO says */
#define FORGET_SILENT (MUTATION == 4)    /* who does not answer in time counts as dead */

#define SLOTS 2
#define ALL 3 /* both */
#define BIT(s) (1 << (s))
#define WORKERS 4
#ifndef MASTERS
#define MASTERS 2
#endif
#ifndef KILLS
#define KILLS 1 /* of masters */
#endif
#ifndef PROGRAMS
#define PROGRAMS 1 /* times that a master executes another program */
#endif
#ifndef CRASHES
#define CRASHES 0 /* of workers */
#endif

mtype = { none, starting, serving, silent };        /* a worker */
mtype = { hello, ready, assigned, assign, refused }; /* messages */

/* what the machine knows */
bool locked;
byte bound, masters_born, in_charge, masters_left = MASTERS;
mtype file[WORKERS] = none;

/* the workers: what is listed of slots is true, for it is an argument of the process */
mtype phase[WORKERS] = none;
byte slot[WORKERS], polls[WORKERS], link[WORKERS];
chan up[WORKERS] = [4] of { mtype, byte };
chan down[WORKERS] = [4] of { mtype, byte };

/* the memory of the master in charge: cleared with it */
mtype known[WORKERS] = none;
bool connected[WORKERS], answered[WORKERS], rolled;
byte held[WORKERS], confirmed[WORKERS], owner[SLOTS];

/* misfortunes left */
byte kills = KILLS, programs = PROGRAMS, crashes = CRASHES;
bool excused; /* a worker has died, or left: from then on there may be gaps */

hidden byte i, j, n, wanted;

inline drop(box)
{
    do
    :: nempty(box) -> box?_,_
    :: empty(box) -> break
    od
}

inline worker_dies(who)
{
    drop(up[who]);
    drop(down[who]);
    phase[who] = none;
    polls[who] = 0;
    link[who] = 0
}

/* ---- the master ---- */

inline take_charge()
{
    d_step {
        locked = true;
        in_charge++;
        masters_born++;
        me = masters_born;
        rolled = false;
        for (i : 0 .. WORKERS - 1) {
            /* A process that is gone, or another one with its number, is not taken in. */
            if
            :: phase[i] == none -> file[i] = none
            :: else
            fi;
            known[i] = file[i];
            held[i] = (file[i] != none -> ALL : 0); /* until it says which */
            confirmed[i] = 0;
            connected[i] = false;
            answered[i] = true
        };
        i = 0
    }
}

/* By death, or by executing another program. */
inline leave_charge()
{
    d_step {
        in_charge--;
        locked = false;
        bound = 0;
        rolled = false;
        for (i : 0 .. WORKERS - 1) {
            known[i] = none;
            connected[i] = false;
            answered[i] = true;
            held[i] = 0;
            confirmed[i] = 0;
            drop(up[i])
        };
        owner[0] = 0;
        owner[1] = 0;
        i = 0
    }
}

inline choose_owners()
{
    for (j : 0 .. SLOTS - 1) {
        owner[j] = WORKERS;
        for (i : 0 .. WORKERS - 1) {
            if
            :: known[i] == serving && connected[i] && (owner[j] == WORKERS || slot[i] == j) ->
                owner[j] = i
            :: else
            fi
        }
    }
}

/* Every order that is due. One ASSIGN at a time to each worker: what late answers
 * mean is the matter of explore.c. */
inline give_orders()
{
    d_step {
        choose_owners();
        for (i : 0 .. WORKERS - 1) {
            wanted = 0;
            for (j : 0 .. SLOTS - 1) {
                if
                :: owner[j] == i || (known[i] == starting && slot[i] == j) ||
                   ((held[i] & BIT(j)) &&
                    (owner[j] == WORKERS || !(confirmed[owner[j] % WORKERS] & BIT(j)))) ->
                    wanted = wanted | BIT(j)
                :: else
                fi
            };
            if
            :: known[i] != none && connected[i] && answered[i] && wanted != held[i] &&
               phase[i] != none ->
                held[i] = wanted;
                confirmed[i] = confirmed[i] & wanted;
                answered[i] = false;
                down[i]!assign(wanted)
            :: else
            fi
        };
        i = 0; j = 0; wanted = 0
    }
}

inline on_hello(who)
{
    if
    :: known[who] == none -> down[who]!refused(0)
    :: known[who] == starting && phase[who] == starting && !rolled ->
        worker_dies(who) /* it had nobody to become ready for */
    :: else ->
        connected[who] = true;
        answered[who] = true;
        held[who] = mask;
        confirmed[who] = held[who];
        if
        :: phase[who] == serving && !BELIEVE_FILE -> known[who] = serving; file[who] = serving
        :: else
        fi
    fi
}

inline hear(who)
{
    d_step {
        nempty(up[who]) ->
        up[who]?kind, mask;
        if
        :: kind == hello -> on_hello(who)
        :: kind == ready && known[who] == starting -> known[who] = serving; file[who] = serving
        :: kind == assigned && known[who] != none -> confirmed[who] = mask; answered[who] = true
        :: else
        fi;
        if
        :: rolled -> give_orders()
        :: else
        fi;
        mask = 0; kind = none
    }
}

inline bury(who)
{
    d_step {
        known[who] != none && phase[who] == none ->
        known[who] = none;
        file[who] = none;
        connected[who] = false;
        answered[who] = true;
        held[who] = 0;
        confirmed[who] = 0;
        if
        :: rolled -> give_orders()
        :: else
        fi
    }
}

#define IS_IN(w, s) (known[w] != none && slot[w] == (s))
#define HAS_SOMEBODY(s) (IS_IN(0, s) || IS_IN(1, s) || IS_IN(2, s) || IS_IN(3, s))
#define ANSWERS(w) (known[w] != none && connected[w])
#define ANYBODY_ANSWERS (ANSWERS(0) || ANSWERS(1) || ANSWERS(2) || ANSWERS(3))
#define IS_MISSING(w) (known[w] != none && !connected[w])
#define NOBODY_IS_MISSING                                                                          \
    (!IS_MISSING(0) && !IS_MISSING(1) && !IS_MISSING(2) && !IS_MISSING(3))

inline spawn(s)
{
    d_step {
        !HAS_SOMEBODY(s) ->
        new = 0;
        do
        :: new < WORKERS && (phase[new] != none || known[new] != none) -> new++
        :: else -> break
        od;
        assert(new < WORKERS); /* the model's own bound */
        phase[new] = starting;
        slot[new] = s
    };
    if
    :: atomic { kills > 0 -> kills--; leave_charge(); goto dead } /* and nobody has heard of it */
    :: d_step {
            known[new] = starting;
            file[new] = (WRITE_ON_READY -> none : starting);
            held[new] = 0;
            new = 0
        }
    fi
}

/* Somebody has to hand over the sockets; then who is still silent is not relied on. */
inline end_roll()
{
    d_step {
        NOBODY_IS_MISSING || ANYBODY_ANSWERS ->
        rolled = true;
        for (n : 0 .. WORKERS - 1) {
            if
            :: known[n] == starting && !connected[n] ->
                excused = excused || phase[n] == serving; /* silent for ten tries: as good as hung */
                worker_dies(n)
            :: known[n] == serving && !connected[n] -> known[n] = (FORGET_SILENT -> none : silent)
            :: else
            fi
        };
        n = 0;
        give_orders()
    }
}

proctype Master()
{
    byte me, mask, new;
    mtype kind = none;
program:
    if
    :: atomic { !locked || NO_LOCK -> take_charge() }
    :: atomic { locked && !NO_LOCK -> goto dead } /* it says who is in charge, and exits */
    fi;
    assert(in_charge == 1);
    if
    :: atomic { kills > 0 -> kills--; leave_charge(); goto dead }
    :: atomic { programs > 0 -> programs--; leave_charge(); goto program } /* goes back */
    :: bound = me
    fi;
end_in_charge:
    do
    :: hear(0)
    :: hear(1)
    :: hear(2)
    :: hear(3)
    :: bury(0)
    :: bury(1)
    :: bury(2)
    :: bury(3)
    :: atomic { !rolled && (NOBODY_IS_MISSING || ANYBODY_ANSWERS) -> end_roll() }
    :: atomic { rolled && !HAS_SOMEBODY(0) -> spawn(0) }
    :: atomic { rolled && !HAS_SOMEBODY(1) -> spawn(1) }
    :: atomic { kills > 0 -> kills--; leave_charge(); goto dead }
    :: atomic { programs > 0 -> programs--; leave_charge(); goto program }
    od;
dead:
    masters_left--
}

/* ---- a worker ---- */

#define POLLED_BY(w, s) (w != me && (polls[w] & BIT(s)))
#define POLLED_BY_OTHERS(s)                                                                        \
    (POLLED_BY(0, s) || POLLED_BY(1, s) || POLLED_BY(2, s) || POLLED_BY(3, s))
#define MAY_LEAVE(s)                                                                               \
    (excused || !(polls[me] & BIT(s)) || (mask & BIT(s)) || POLLED_BY_OTHERS(s))

inline take_order()
{
    down[me]?kind, mask;
    if
    :: kind == assign ->
        assert(MAY_LEAVE(0) && MAY_LEAVE(1));
        polls[me] = mask;
        if
        :: link[me] == bound && phase[me] == starting -> up[me]!ready(0)
        :: else
        fi;
        phase[me] = serving;
        if
        :: link[me] == bound -> up[me]!assigned(mask)
        :: else
        fi
    :: kind == refused ->
        assert(phase[me] == starting);
        worker_dies(me)
    fi;
    mask = 0; kind = none
}

proctype Worker(byte me)
{
    byte mask;
    mtype kind = none;
end_:
    do
    :: d_step { nempty(down[me]) -> take_order() }
    :: d_step { phase[me] != none && link[me] == 0 && bound != 0 ->
            link[me] = bound; up[me]!hello(polls[me]) }
    /* The end of the connection, after everything that was sent before it. */
    :: d_step { link[me] != 0 && link[me] != bound && empty(down[me]) ->
            if
            :: phase[me] == starting -> worker_dies(me)
            :: else
            fi;
            link[me] = 0 }
    :: d_step { phase[me] == starting && link[me] == 0 && bound == 0 -> worker_dies(me) }
    :: d_step { phase[me] == serving && link[me] == 0 && masters_left == 0 ->
            excused = true; worker_dies(me) } /* orphan_timeout */
    :: d_step { phase[me] == serving && crashes > 0 ->
            crashes--; excused = true; worker_dies(me) }
    od
}

/* ---- and in the end ---- */

#define GOOD(w, s)                                                                                 \
    (phase[w] == serving && slot[w] == (s) && known[w] == serving && connected[w] &&               \
     file[w] == serving && polls[w] == BIT(s))
#define COUNT(condition0, condition1, condition2, condition3)                                      \
    ((condition0 -> 1 : 0) + (condition1 -> 1 : 0) + (condition2 -> 1 : 0) + (condition3 -> 1 : 0))
#define GOOD_IN(s) COUNT(GOOD(0, s), GOOD(1, s), GOOD(2, s), GOOD(3, s))
#define LIVING                                                                                     \
    COUNT(phase[0] != none, phase[1] != none, phase[2] != none, phase[3] != none)

init
{
    atomic {
        n = 0;
        do
        :: n < WORKERS -> run Worker(n); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < MASTERS -> run Master(); n++
        :: else -> break
        od;
        n = 0
    };
    timeout;
    assert(in_charge <= 1);
    assert(in_charge == 1 || (masters_left == 0 && LIVING == 0));
    assert(in_charge == 0 || (LIVING == 2 && GOOD_IN(0) == 1 && GOOD_IN(1) == 1))
}
