/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_management - what clients of the management server send: Host, Accept,
 * Content-Type, paths and bodies. The first byte says which, the rest is it.
 */
#include "master/management_private.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_body(const char *text, size_t len, unsigned char kind)
{
    const struct cluster limits = {.min_workers = 1, .max_workers = 8};
    struct command command = {.kind = (enum command_kind)(kind % COMMAND_KIND_COUNT)};
    char message[64];
    if (management_parse_body(slice_from(text, len), &limits, &command, message, sizeof(message))) {
        CHECK(command.for_ms >= 0);
        CHECK(command.kind != COMMAND_SCALE || (command.instances >= 1 && command.instances <= 8));
        CHECK(strnlen(command.reason, sizeof(command.reason)) < sizeof(command.reason));
    } else {
        CHECK(message[0] != '\0' && strnlen(message, sizeof(message)) < sizeof(message));
    }
}

static void find_route(const char *path)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", ""};
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        const struct route *route = NULL;
        char allow[64];
        int slot = 0;
        enum route_match match =
            management_find_route(methods[i], path, &route, &slot, allow, sizeof(allow));
        CHECK((match == ROUTE_FOUND) == (route != NULL));
        CHECK(slot >= -1);
    }
    CHECK(management_near_route(path, 0) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    /* A copy of just this size, so that one byte too far is noticed. */
    char *text = malloc(size);
    CHECK(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 8) {
    case 0:
        (void)management_host_allowed(slice_from(text, size - 1), "ops.example.com, node2");
        break;
    case 1:
        (void)management_accepts(text, "application/openmetrics-text");
        break;
    case 2:
        (void)management_is_json_type(text);
        break;
    case 3:
        find_route(text);
        break;
    default:
        parse_body(text, size - 1, data[0] / 8);
        break;
    }
    free(text);
    return 0;
}
