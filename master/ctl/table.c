/* SPDX-License-Identifier: BSD-2-Clause
 *
 * table - text for people: aligned columns, short numbers, colours on a terminal.
 */
#include "master/ctl/table.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cell {
    bool note; /* a whole line */
    enum colour colour;
    char text[TABLE_CELL_SIZE];
};

static bool colours;

void colour_init(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    colours = isatty(STDOUT_FILENO) && (no_colour == NULL || no_colour[0] == '\0') &&
              terminal != NULL && strcmp(terminal, "dumb") != 0;
}

static const char *colour_code(enum colour colour)
{
    switch (colour) {
    case COLOUR_NONE:
        return "";
    case COLOUR_GOOD:
        return "\033[32m";
    case COLOUR_BUSY:
        return "\033[33m";
    case COLOUR_BAD:
        return "\033[31m";
    case COLOUR_HEAD:
        return "\033[1m";
    }
    return "";
}

void print_text(enum colour colour, const char *text)
{
    bool coloured = colours && colour != COLOUR_NONE;
    if (coloured)
        fputs(colour_code(colour), stdout);
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        putchar(byte < 0x20 || byte == 0x7f ? '?' : byte);
    }
    if (coloured)
        fputs("\033[0m", stdout);
}

/* Characters, not bytes: continuation bytes of UTF-8 take no column. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_init(struct table *table, const char *const *heads, int columns, unsigned left)
{
    CHECK(columns > 0 && columns <= TABLE_COLUMNS);
    *table = (struct table){.heads = heads, .columns = columns, .left = left};
}

static struct cell *add_cell(struct table *table)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        struct cell *cells = realloc(table->cells, capacity * sizeof(*cells));
        if (cells == NULL) {
            fputs("musterctl: out of memory\n", stderr);
            exit(EXIT_FAILURE);
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    return &table->cells[table->count++];
}

void table_add(struct table *table, enum colour colour, const char *format, ...)
{
    struct cell *cell = add_cell(table);
    va_list arguments;
    *cell = (struct cell){.colour = colour};
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof(cell->text), format, arguments);
    va_end(arguments);
}

void table_note(struct table *table, const char *format, ...)
{
    struct cell *cell = add_cell(table);
    va_list arguments;
    *cell = (struct cell){.note = true};
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof(cell->text), format, arguments);
    va_end(arguments);
}

static void print_cell(const struct table *table, int column, enum colour colour, const char *text,
                       int width)
{
    bool left = (table->left >> column & 1) != 0;
    bool last = column + 1 == table->columns;
    int pad = width - width_of(text);
    if (!left)
        printf("%*s", pad, "");
    print_text(colour, text);
    if (last)
        putchar('\n');
    else
        printf("%*s", (left ? pad : 0) + 2, "");
}

void table_print(const struct table *table)
{
    int widths[TABLE_COLUMNS] = {0};
    for (int i = 0; i < table->columns; i++)
        widths[i] = width_of(table->heads[i]);
    int column = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (table->cells[i].note)
            continue;
        int width = width_of(table->cells[i].text);
        if (width > widths[column])
            widths[column] = width;
        column = (column + 1) % table->columns;
    }
    for (int i = 0; i < table->columns; i++)
        print_cell(table, i, COLOUR_HEAD, table->heads[i], widths[i]);
    column = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct cell *cell = &table->cells[i];
        if (cell->note) {
            print_text(COLOUR_BUSY, cell->text);
            putchar('\n');
            continue;
        }
        print_cell(table, column, cell->colour, cell->text, widths[column]);
        column = (column + 1) % table->columns;
    }
}

void table_fini(struct table *table)
{
    free(table->cells);
    *table = (struct table){0};
}

/* ---- numbers ---- */

const char *short_count(double value, char out[SHORT_SIZE])
{
    static const char units[] = "kMGTPE";
    if (value < 10000) {
        bool whole = value - (double)(long long)value < 0.05;
        snprintf(out, SHORT_SIZE, whole ? "%.0f" : "%.1f", value);
        return out;
    }
    size_t unit = 0;
    value /= 1000;
    while (value >= 1000 && units[unit + 1] != '\0') {
        value /= 1000;
        unit++;
    }
    snprintf(out, SHORT_SIZE,
             value < 10    ? "%.2f%c"
             : value < 100 ? "%.1f%c"
                           : "%.0f%c",
             value, units[unit]);
    return out;
}

const char *short_bytes(double bytes, char out[SHORT_SIZE])
{
    static const char units[] = "kMGTPE";
    if (bytes < 1024) {
        snprintf(out, SHORT_SIZE, "%.0f B", bytes);
        return out;
    }
    size_t unit = 0;
    bytes /= 1024;
    while (bytes >= 1024 && units[unit + 1] != '\0') {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, SHORT_SIZE, bytes < 10 ? "%.1f %cB" : "%.0f %cB", bytes, units[unit]);
    return out;
}

const char *short_seconds(double seconds, char out[SHORT_SIZE])
{
    long long whole = (long long)seconds;
    if (seconds < 10)
        snprintf(out, SHORT_SIZE, "%.1fs", seconds);
    else if (whole < 60)
        snprintf(out, SHORT_SIZE, "%llds", whole);
    else if (whole < 3600)
        snprintf(out, SHORT_SIZE, "%lldm%llds", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(out, SHORT_SIZE, "%lldh%lldm", whole / 3600, whole % 3600 / 60);
    else
        snprintf(out, SHORT_SIZE, "%lldd%lldh", whole / 86400, whole % 86400 / 3600);
    return out;
}
