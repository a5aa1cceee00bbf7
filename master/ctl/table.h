/* SPDX-License-Identifier: BSD-2-Clause
 *
 * table - text for people: aligned columns, short numbers, colours on a terminal.
 */
#ifndef MUSTER_CTL_TABLE_H
#define MUSTER_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_BUSY, COLOUR_BAD, COLOUR_HEAD };

/* Colours only on a terminal, and not with NO_COLOR or TERM=dumb. */
void colour_init(void);
/* Prints `text` in a colour; bytes that a terminal would obey become '?'. */
void print_text(enum colour colour, const char *text);

struct table {
    const char *const *heads;
    int columns;        /* TABLE_COLUMNS at most */
    unsigned left;      /* bit n: column n is aligned to the left */
    struct cell *cells; /* row by row */
    size_t count;
    size_t capacity;
};

enum { TABLE_COLUMNS = 16, TABLE_CELL_SIZE = 96 };

void table_init(struct table *table, const char *const *heads, int columns, unsigned left);
/* The next cell of the row that is being filled. */
void table_add(struct table *table, enum colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A line of text below the row that was filled last. */
void table_note(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table);
void table_fini(struct table *table);

/* "17", "12.3k", "4.56M" */
enum { SHORT_SIZE = 32 };
const char *short_count(double value, char out[SHORT_SIZE]);
/* "512 B", "4.2 MB"; 1 MB is 1024 * 1024 bytes. */
const char *short_bytes(double bytes, char out[SHORT_SIZE]);
/* "0.4s", "45s", "12m30s", "5h10m", "3d4h" */
const char *short_seconds(double seconds, char out[SHORT_SIZE]);

#endif
