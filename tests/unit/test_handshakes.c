/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/handshakes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void test_lines(void **state)
{
    static const struct {
        const char *line;
        unsigned port;
    } cases[] = {
        /* as Linux 6.18 writes them */
        {"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid", 0},
        {"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0", 0},
        {"   7: 01004D0A:1F90 02004D0A:D431 03 00000000:00000000 01:00000063 00000000     0", 8080},
        {"  12: 01004D0A:0050 02004D0A:D431 01 00000000:00000000 00:00000000 00000000     0", 0},
        {" 199: 01004D0A:FFFF 02004D0A:D431 06 00000000:00000000 03:00000063 00000000     0", 0},
        {"   3: 00000000000000000000000001000000:0050 00000000000000000000000001000000:D431 03 0",
         80},
        {"", 0},
        {"   7: 01004D0A", 0},
        {"   7: 01004D0A:FFFFF 02004D0A:D431 03", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(handshakes_parse_line(cases[i].line), cases[i].port);
}

/* Loopback completes a handshake at once, so none is ever seen here; what can
 * be is that a listening socket alone is none. tests/integration/test_drain.py
 * has those that take long. */
static void test_none(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    struct listeners listeners = {.group_count = 1};
    listeners.group[0].fds = &fd;
    listeners.group[0].fd_count = 1;
    assert_false(handshakes_pending(&listeners));
    listeners.group_count = 0;
    assert_false(handshakes_pending(&listeners));
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
