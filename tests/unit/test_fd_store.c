/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_fd_store - what the service manager is asked to keep, and how what it hands back becomes
 * groups again. The test is the service manager: it listens on NOTIFY_SOCKET.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "master/fd_store.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int open_listener(in_port_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = *port;
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = address.sin_port;
    return fd;
}

/* ---- names ---- */

static void test_names(void **state)
{
    static const struct {
        const char *name;
        bool ours;
        int slot;
    } cases[] = {
        {"muster-stopper", true, FOUND_STOPPER},
        {"muster-slot-0", true, 0},
        {"muster-slot-1023", true, 1023},
        {"muster-slot-1024", false, 0},
        {"muster-slot-99999999999999999999", false, 0},
        {"muster-slot-", false, 0},
        {"muster-slot-1x", false, 0},
        {"muster-slot--1", false, 0},
        {"muster-slot- 1", false, 0},
        {"muster-stopper2", false, 0},
        {"muster", false, 0},
        {"unknown", false, 0},
        {"", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int slot = 7;
        bool ours = fd_store_parse_name(cases[i].name, &slot);
        if (ours != cases[i].ours || slot != (ours ? cases[i].slot : 7))
            fail_msg("%s: %d, slot %d", cases[i].name, ours, slot);
    }
}

/* ---- handed back ---- */

static void test_addresses_become_groups(void **state)
{
    in_port_t port[2] = {0, 0};
    struct found_sockets found = {0};
    (void)state;
    /* In the order of a store that prepends. */
    for (int slot = 1; slot >= FOUND_STOPPER; slot--)
        for (int group = 1; group >= 0; group--)
            assert_int_equal(fd_store_collect(&found, open_listener(&port[group]), slot), 0);
    assert_int_equal(found.count, 6);
    for (int i = 0; i < found.count; i++) {
        assert_int_equal(found.items[i].group, i % 2);
        assert_int_equal(found.items[i].kind, LISTENER_PER_SLOT);
        assert_int_equal(found.items[i].slot, 1 - i / 2);
        assert_false(found.items[i].inherited);
    }
    assert_true(fd_store_is_complete(&found));
    found_sockets_fini(&found);
}

static void test_a_group_without_its_first_socket_is_incomplete(void **state)
{
    in_port_t port[2] = {0, 0};
    struct found_sockets found = {0};
    (void)state;
    assert_int_equal(fd_store_collect(&found, open_listener(&port[0]), 0), 0);
    assert_true(fd_store_is_complete(&found));
    assert_int_equal(fd_store_collect(&found, open_listener(&port[1]), FOUND_STOPPER), 0);
    assert_false(fd_store_is_complete(&found));
    found_sockets_fini(&found);
}

/* ---- given away ---- */

enum { SLOTS = 3 };

struct fixture {
    int manager; /* where notifications arrive */
    char path[64];
    int fds[3][SLOTS];
    struct listeners listeners;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(fixture);
    (void)snprintf(fixture->path, sizeof(fixture->path), "/tmp/test_fd_store.%d", (int)getpid());
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->path);
    fixture->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fixture->manager >= 0);
    (void)unlink(fixture->path);
    assert_int_equal(bind(fixture->manager, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", fixture->path, 1), 0);
    /* Two groups of ours, one of the service manager. */
    fixture->listeners.group_count = 3;
    for (int i = 0; i < 3; i++) {
        in_port_t port = 0;
        struct listener_group *group = &fixture->listeners.group[i];
        *group = (struct listener_group){.stopper_fd = -1, .filler_fd = -1, .inherited = i == 1};
        group->fds = fixture->fds[i];
        if (!group->inherited)
            group->stopper_fd = open_listener(&port);
        for (group->fd_count = 0; group->fd_count < SLOTS; group->fd_count++)
            group->fds[group->fd_count] = open_listener(&port);
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < SLOTS; n++)
            (void)close(fixture->fds[i][n]);
        if (fixture->listeners.group[i].stopper_fd >= 0)
            (void)close(fixture->listeners.group[i].stopper_fd);
    }
    (void)close(fixture->manager);
    (void)unlink(fixture->path);
    (void)unsetenv("NOTIFY_SOCKET");
    free(fixture);
    return 0;
}

/* The next notification and how many descriptors came with it; "" when there is none. */
static const char *next_notification(const struct fixture *fixture, int *fd_count)
{
    static char text[256];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CONTRACT_MAX_GROUPS)];
    } control;
    struct iovec part = {text, sizeof(text) - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(fixture->manager, &message, MSG_CMSG_CLOEXEC);
    text[len > 0 ? len : 0] = '\0';
    *fd_count = 0;
    const struct cmsghdr *header = len > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
        int fds[CONTRACT_MAX_GROUPS];
        *fd_count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), (size_t)*fd_count * sizeof(int));
        for (int i = 0; i < *fd_count; i++)
            (void)close(fds[i]);
    }
    return text;
}

static void test_every_socket_of_ours_is_kept_in_kernel_order(void **state)
{
    static const char *const names[] = {"muster-stopper", "muster-slot-0", "muster-slot-1",
                                        "muster-slot-2"};
    struct fixture *fixture = *state;
    int fd_count;
    fd_store_save(&fixture->listeners);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char expected[128];
        (void)snprintf(expected, sizeof(expected), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", names[i]);
        assert_string_equal(next_notification(fixture, &fd_count), expected);
        assert_int_equal(fd_count, 2); /* not that of the service manager */
    }
    assert_string_equal(next_notification(fixture, &fd_count), "");
}

static void test_what_came_from_the_store_is_not_sent_again(void **state)
{
    struct fixture *fixture = *state;
    int fd_count;
    fixture->listeners.stored = 2 * (SLOTS + 1);
    fd_store_save(&fixture->listeners);
    assert_string_equal(next_notification(fixture, &fd_count), "");
    fixture->listeners.stored--; /* an address or a slot was added */
    fd_store_save(&fixture->listeners);
    assert_string_not_equal(next_notification(fixture, &fd_count), "");
}

static void test_the_stopper_is_forgotten_last(void **state)
{
    static const char *const names[] = {"muster-slot-1", "muster-slot-0", "muster-stopper"};
    struct fixture *fixture = *state;
    int fd_count;
    fd_store_forget(2, false);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char expected[128];
        (void)snprintf(expected, sizeof(expected), "FDSTOREREMOVE=1\nFDNAME=%s", names[i]);
        assert_string_equal(next_notification(fixture, &fd_count), expected);
    }
    assert_string_equal(next_notification(fixture, &fd_count), "");
}

static void test_nothing_happens_without_a_service_manager(void **state)
{
    struct fixture *fixture = *state;
    int fd_count;
    (void)unsetenv("NOTIFY_SOCKET");
    fd_store_save(&fixture->listeners);
    fd_store_forget(CONTRACT_MAX_SLOTS, true);
    assert_string_equal(next_notification(fixture, &fd_count), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_addresses_become_groups),
        cmocka_unit_test(test_a_group_without_its_first_socket_is_incomplete),
        cmocka_unit_test_setup_teardown(test_every_socket_of_ours_is_kept_in_kernel_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_came_from_the_store_is_not_sent_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_stopper_is_forgotten_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_happens_without_a_service_manager, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
