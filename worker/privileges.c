/* SPDX-License-Identifier: BSD-2-Clause
 *
 * privileges - limits, user and group, no_new_privs.
 */
#include "worker/privileges.h"

#include "common/log.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPARE_FILES = 64 }; /* control socket, logs, documents, files being sent */

/* As near to `wanted` as the hard limit allows. */
static void raise_files(rlim_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    struct rlimit raised = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        return;
    raised = (struct rlimit){limit.rlim_max < wanted ? limit.rlim_max : wanted, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
        log_warning("cannot set the limit of descriptors", LOG_ERR(errno));
}

static bool serves_files(const struct config *config)
{
    for (int i = 0; i < config->route_count; i++) {
        if (config->routes[i].root != NULL && config->routes[i].root[0] != '\0')
            return true;
    }
    return false;
}

int64_t privileges_limit(const struct config *config, int64_t own_files)
{
    rlim_t needed = (rlim_t)(config->max_connections + own_files + SPARE_FILES);
    rlim_t wanted = needed;
    if (config->open_files > 0)
        wanted = needed = (rlim_t)config->open_files;
    else if (serves_files(config)) /* every connection may be in the middle of one */
        wanted += (rlim_t)config->max_connections;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -1;
    /* More than wanted does no harm, but a limit that was set on purpose is obeyed. */
    if (config->open_files > 0 || limit.rlim_cur < wanted)
        raise_files(wanted);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < needed)
        log_warning("fewer descriptors than max_connections needs; accepting will pause earlier",
                    LOG_INT("limit", (int64_t)limit.rlim_cur), LOG_INT("needed", (int64_t)needed));

    struct rlimit core = {0, 0};
    if (config->core_dumps)
        core = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &core) != 0)
        log_warning("cannot set the limit of core dumps", LOG_ERR(errno));
    return (int64_t)limit.rlim_cur;
}

static int fail(char *error, size_t size, int err, const char *what, const char *name)
{
    snprintf(error, size, "%s %s: %s", what, name, err > 0 ? log_strerror(err) : "no such account");
    return err > 0 ? -err : -ENOENT;
}

static int find_user(const char *name, uid_t *uid, gid_t *gid, const char **found, char *error,
                     size_t size)
{
    const char *candidates[] = {"muster", "nobody"};
    size_t count = ARRAY_COUNT(candidates);
    if (name != NULL && name[0] != '\0') {
        candidates[0] = name;
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        errno = 0;
        const struct passwd *entry = getpwnam(candidates[i]);
        if (entry == NULL)
            continue;
        *uid = entry->pw_uid;
        *gid = entry->pw_gid;
        *found = candidates[i];
        return 0;
    }
    return fail(error, size, errno, "user", candidates[count - 1]);
}

static int become(const struct config *config, char *error, size_t size)
{
    uid_t uid = 0;
    gid_t gid = 0;
    const char *user = "";
    int err = find_user(config->user, &uid, &gid, &user, error, size);
    if (err != 0)
        return err;
    if (config->group != NULL && config->group[0] != '\0') {
        errno = 0;
        const struct group *entry = getgrnam(config->group);
        if (entry == NULL)
            return fail(error, size, errno, "group", config->group);
        gid = entry->gr_gid;
    }
    if (setgroups(1, &gid) != 0)
        return fail(error, size, errno, "setgroups for", user);
    if (setresgid(gid, gid, gid) != 0)
        return fail(error, size, errno, "setresgid for", user);
    if (setresuid(uid, uid, uid) != 0)
        return fail(error, size, errno, "setresuid for", user);
    if (uid != 0 && setuid(0) == 0)
        return fail(error, size, EPERM, "could become root again after becoming", user);
    if (uid == 0)
        log_warning("serving as root, because the configuration says so", LOG_STR("user", user));
    return 0;
}

/* A service manager may have given some to the master (a port below 1024): a
 * worker uses sockets that are open already. Root in its own right keeps them:
 * that was asked for. */
static int drop_capabilities(void)
{
    if (geteuid() == 0)
        return 0;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof(none));
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &head, none);
}

int privileges_drop(const struct config *config, char *error, size_t error_size)
{
    if (geteuid() == 0) {
        int err = become(config, error, error_size);
        if (err != 0)
            return err;
    }
    if (drop_capabilities() != 0)
        return fail(error, error_size, errno, "capset", "no capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(error, error_size, errno, "prctl", "PR_SET_NO_NEW_PRIVS");
    /* Changing the user clears it, and without it there is no core dump and no debugger. */
    (void)prctl(PR_SET_DUMPABLE, config->core_dumps ? 1 : 0, 0, 0, 0);
    return 0;
}
