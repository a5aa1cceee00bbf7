/* SPDX-License-Identifier: BSD-2-Clause
 *
 * balance - how much of the new connections each slot is to get.
 */
#include "master/balance.h"

#include <string.h>

/* How far ahead the levels are to be even. Several looks fit into it, so that a
 * step too far is seen and corrected before it is done. */
static const double HORIZON_S = 0.5;
static const double HORIZON_AGES = 2; /* and so many times the age of the figures */
/* With few arrivals as if there were this many for each slot, and this share of
 * what is open: a burst must not find all weight on one slot. */
static const double LEAST_ARRIVALS_PER_SLOT = 8;
static const double LEAST_ARRIVALS_SHARE = 0.02;
/* The most a slot gets, in even shares. */
static const double MOST_SHARES = 3;

/* A loop may be late by so much, or by twice what the best one is late. */
static const double LAG_FREE_NS = 5e6;
static const double LAG_RATIO = 2;
static const double LEAST_TRUST = 0.01; /* below it a slot gets nothing */
static const double NEW_TRUST = 0.2;
static const double TRUST_GROWTH = 1.5; /* per look of BALANCE_INTERVAL_MS */

/* Changes below this part of an even share are noise. */
static const double NOISE = 0.1;

/* The figures of one look, worked out. */
struct look {
    int count;
    double load[CONTRACT_MAX_SLOTS];     /* connections for each unit of capacity */
    double capacity[CONTRACT_MAX_SLOTS]; /* share of the whole; 0: not eligible */
    double lag_ns[CONTRACT_MAX_SLOTS];
    double arrivals; /* expected within the horizon */
    double lag_limit_ns;
};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static bool is_fresh(const struct balance_figures *figures)
{
    return figures->known && figures->age_ms <= BALANCE_STALE_MS;
}

/* A worker may claim anything about itself. */
static double claimed(int64_t number)
{
    return number < 0 ? 0 : smaller((double)number, 1e7);
}

/* Connections now, with what must have arrived since the figures were made. A
 * request in flight weighs as much as another connection: idle ones cost little. */
static double load_of(const struct balance *balance, const struct balance_figures *figures,
                      int slot, double rate)
{
    double unseen = balance->slot[slot].share * rate * (double)figures->age_ms / 1000;
    return claimed(figures->connections) + claimed(figures->in_flight) + unseen;
}

/* Another worker than at the last look. One that was suspect and comes back is
 * not new: what is known of it stays. */
static bool is_new(const struct balance *balance, const struct balance_figures *figures, int slot)
{
    return balance->slot[slot].worker != figures->worker;
}

/* How late a loop is, the least of three looks. Where processors are scarce
 * everybody is late now and then, and whoever is punished for it drives the
 * shares of all; what counts is who stays late. */
static double lasting_lag(struct balance *balance, const struct balance_figures *figures, int slot,
                          bool is_next_look)
{
    double *lag = balance->slot[slot].lag_ns;
    if (is_new(balance, figures, slot))
        lag[0] = lag[1] = lag[2] = 0;
    if (is_next_look) {
        lag[2] = lag[1];
        lag[1] = lag[0];
        lag[0] = is_fresh(figures) && figures->lag_ns > 0 ? (double)figures->lag_ns : 0;
    }
    return smaller(lag[0], smaller(lag[1], lag[2]));
}

static void measure(const struct balance *balance, const struct balance_figures *figures,
                    double rate, struct look *look)
{
    double capacity = 0, best_lag_ns = -1, known_load = 0, known_capacity = 0, eligible = 0;
    double horizon_s = HORIZON_S;
    for (int i = 0; i < look->count; i++) {
        look->capacity[i] = figures[i].eligible ? larger(figures[i].capacity, 1) : 0;
        capacity += look->capacity[i];
        if (!figures[i].eligible)
            continue;
        eligible++;
        if (!is_fresh(&figures[i]))
            continue;
        look->load[i] = load_of(balance, &figures[i], i, rate);
        horizon_s = larger(horizon_s, HORIZON_AGES * (double)figures[i].age_ms / 1000);
        known_load += look->load[i];
        known_capacity += look->capacity[i];
        if (best_lag_ns < 0 || look->lag_ns[i] < best_lag_ns)
            best_lag_ns = look->lag_ns[i];
    }
    /* Slots of which nothing is known are taken for average. */
    double average = known_capacity > 0 ? known_load / known_capacity * capacity : 0;
    for (int i = 0; i < look->count; i++) {
        if (!figures[i].eligible)
            continue;
        look->capacity[i] /= capacity;
        look->load[i] = is_fresh(&figures[i]) ? look->load[i] / look->capacity[i] : average;
    }
    look->arrivals = larger(rate * horizon_s, larger(LEAST_ARRIVALS_PER_SLOT * eligible,
                                                     LEAST_ARRIVALS_SHARE * known_load));
    look->lag_limit_ns = larger(LAG_FREE_NS, LAG_RATIO * best_lag_ns);
}

/* The part of an even share that a loop so late may have. A cube, because
 * whoever gets to it waits that long: at four times the limit that is one
 * connection in 250 of four workers', which the 99th percentile does not see. */
static double trust_for(double lag_ns, double limit_ns)
{
    if (lag_ns <= limit_ns)
        return 1;
    double ratio = limit_ns / lag_ns;
    double trust = ratio * ratio * ratio;
    return trust < LEAST_TRUST ? 0 : trust;
}

/* Trust falls at once and grows step by step. */
static void update_trust(struct balance *balance, const struct balance_figures *figures,
                         const struct look *look, double elapsed_ms)
{
    /* A geometric growth, by steps: no power function, no rounding surprises. */
    double growth = 1;
    for (double left = elapsed_ms; left > 0 && growth < 1000; left -= BALANCE_INTERVAL_MS)
        growth *= left >= BALANCE_INTERVAL_MS ? TRUST_GROWTH
                                              : 1 + (TRUST_GROWTH - 1) * left / BALANCE_INTERVAL_MS;
    for (int i = 0; i < look->count; i++) {
        bool is_beginner = is_new(balance, &figures[i], i);
        double *trust = &balance->slot[i].trust;
        balance->slot[i].worker = figures[i].worker;
        double allowed = trust_for(look->lag_ns[i], look->lag_limit_ns);
        double reached = is_beginner ? NEW_TRUST : larger(*trust, LEAST_TRUST) * growth;
        *trust = smaller(allowed, reached);
    }
}

/* The shares of the arrivals that level the loads: what water does when it is
 * poured over an uneven floor. */
static void level(const struct look *look, double *share)
{
    double low = 0, high = look->arrivals;
    for (int i = 0; i < look->count; i++)
        if (look->capacity[i] > 0)
            high = larger(high, look->load[i] + look->arrivals);
    for (int step = 0; step < 60; step++) { /* halving: to the last bit */
        double middle = low + (high - low) / 2, poured = 0;
        for (int i = 0; i < look->count; i++)
            poured += look->capacity[i] * larger(0, middle - look->load[i]);
        if (poured < look->arrivals)
            low = middle;
        else
            high = middle;
    }
    for (int i = 0; i < look->count; i++)
        share[i] = look->capacity[i] * larger(0, high - look->load[i]) / look->arrivals;
}

/* Nobody gets more than trust allows; what that leaves over goes to those that
 * have room, by capacity. */
static void limit(const struct balance *balance, const struct look *look, double *share)
{
    double most[CONTRACT_MAX_SLOTS];
    for (int i = 0; i < look->count; i++)
        most[i] = MOST_SHARES * look->capacity[i] * balance->slot[i].trust;
    for (int round = 0; round < 16; round++) {
        double left = 1, room = 0;
        for (int i = 0; i < look->count; i++) {
            share[i] = smaller(share[i], most[i]);
            left -= share[i];
            if (share[i] < most[i])
                room += look->capacity[i] * balance->slot[i].trust;
        }
        if (left < 1e-6 || room <= 0)
            break;
        for (int i = 0; i < look->count; i++)
            if (share[i] < most[i])
                share[i] += left * look->capacity[i] * balance->slot[i].trust / room;
    }
    double sum = 0;
    for (int i = 0; i < look->count; i++)
        sum += share[i];
    for (int i = 0; i < look->count; i++)
        share[i] = sum > 0 ? share[i] / sum : look->capacity[i];
}

static bool differs(const struct balance *balance, const struct look *look, const double *share)
{
    for (int i = 0; i < look->count; i++) {
        double given = (double)balance->slot[i].weight / BALANCE_SCALE;
        double change = share[i] > given ? share[i] - given : given - share[i];
        if (change > NOISE * look->capacity[i])
            return true;
        /* Of a slot that is to get next to nothing little is much. */
        if (share[i] < given / 2 && given > 0.02 * look->capacity[i])
            return true;
    }
    return false;
}

/* What arrives faster than workers have counted shows as growth. */
static double arrival_rate(struct balance *balance, const struct balance_figures *figures,
                           int count, double arrivals, int64_t elapsed_ms)
{
    double connections = 0;
    for (int i = 0; i < count; i++)
        if (figures[i].eligible && is_fresh(&figures[i]))
            connections += claimed(figures[i].connections);
    double growth = 1000 * (connections - balance->connections) / (double)elapsed_ms;
    balance->growth = balance->counted_ms == 0 ? 0 : (balance->growth + growth) / 2;
    balance->connections = connections;
    return smaller(larger(arrivals, balance->growth), 1e6);
}

bool balance_look(struct balance *balance, const struct balance_figures *figures, int count,
                  double arrivals, int64_t now_ms, bool force)
{
    double share[CONTRACT_MAX_SLOTS] = {0};
    struct look look = {.count = count};
    CHECK(count <= CONTRACT_MAX_SLOTS);
    double elapsed_ms = balance->looked_ms == 0 ? 0 : (double)(now_ms - balance->looked_ms);
    balance->looked_ms = now_ms;
    /* Looks in between, because the set of slots changed, measure nothing new. */
    int64_t counted_ms = now_ms - balance->counted_ms;
    bool is_next_look = counted_ms >= BALANCE_INTERVAL_MS / 2;
    if (is_next_look) {
        balance->rate = arrival_rate(balance, figures, count, arrivals, counted_ms);
        balance->counted_ms = now_ms;
    }
    double rate = balance->rate;
    for (int i = 0; i < count; i++)
        look.lag_ns[i] = lasting_lag(balance, &figures[i], i, is_next_look);
    measure(balance, figures, rate, &look);
    update_trust(balance, figures, &look, elapsed_ms);
    level(&look, share);
    limit(balance, &look, share);
    for (int i = 0; i < count; i++)
        balance->slot[i].share = share[i];
    if (!force && !differs(balance, &look, share))
        return false;
    for (int i = 0; i < count; i++)
        balance->slot[i].weight = (uint16_t)(share[i] * BALANCE_SCALE + 0.5);
    return true;
}
