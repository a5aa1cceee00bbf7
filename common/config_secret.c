/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_secret - the management token and the file it may be kept in.
 */
#include "common/config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct config_place token_place = {.key = KEY_MANAGEMENT_TOKEN};
static const struct config_place file_place = {.key = KEY_MANAGEMENT_TOKEN_FILE};

/* What is wrong with the file itself; NULL if nothing. */
static const char *find_mode_mistake(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "is not a regular file; a file with the token as its only line is wanted";
    if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return "is open to others than its owner; make it readable by the owner alone "
               "(chmod 600)";
    return NULL;
}

/* Returns the length, or -errno. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t got = read(fd, out + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

static void take_token(struct config_loader *loader, char *text, size_t len, int origin)
{
    const struct config_key *key = &config_keys[KEY_MANAGEMENT_TOKEN];
    char why[CONFIG_WHY_SIZE];

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    text[len] = '\0';
    if (len == 0 || memchr(text, '\0', len) != NULL || strchr(text, '\n') != NULL) {
        config_report_value(loader, file_place, origin, NULL,
                            "does not hold one line of text; the token as the only line is "
                            "accepted");
        *config_place_origin(loader, token_place) = ORIGIN_UNUSABLE;
        return;
    }
    if (config_value_set(key, loader->config, text, why)) {
        *config_place_origin(loader, token_place) = origin;
        return;
    }
    struct buf accepts;
    buf_init(&accepts, 0);
    config_describe(key, &accepts);
    config_report_value(loader, file_place, origin, NULL, "the token in it %s; accepted is %.*s",
                        why, (int)accepts.len, accepts.ptr);
    buf_fini(&accepts);
    *config_place_origin(loader, token_place) = ORIGIN_UNUSABLE;
}

void config_read_token_file(struct config_loader *loader)
{
    const char *path = loader->config->management_token_file;
    int origin = *config_place_origin(loader, file_place);
    int token_origin = *config_place_origin(loader, token_place);
    /* One byte more than the longest token and its line end may have. */
    char text[1024];
    struct stat st;

    if (path[0] == '\0' || token_origin == ORIGIN_ENVIRONMENT)
        return;
    if (token_origin != ORIGIN_DEFAULT) {
        if (token_origin > 0)
            config_report_value(loader, file_place, origin, NULL,
                                "token is set, too, on line %d; keep one of them", token_origin);
        return;
    }
    /* Asked before opening, because opening a device can have effects; and
     * again afterwards, because the name may mean another file by then. */
    int fd = -1;
    const char *mistake = NULL;
    int error = stat(path, &st) != 0 ? errno : 0;
    if (error == 0)
        mistake = find_mode_mistake(&st);
    if (error == 0 && mistake == NULL) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        error = fd < 0 || fstat(fd, &st) != 0 ? errno : 0;
        if (error == 0)
            mistake = find_mode_mistake(&st);
    }
    ssize_t len = error == 0 && mistake == NULL ? read_all(fd, text, sizeof(text) - 1) : 0;
    if (len < 0)
        error = (int)-len;
    if (error != 0 || mistake != NULL) {
        if (mistake == NULL)
            config_report_value(loader, file_place, origin, NULL,
                                "cannot be read: %s; a readable file with the token is wanted",
                                strerror(error));
        else
            config_report_value(loader, file_place, origin, NULL, "%s", mistake);
        *config_place_origin(loader, token_place) = ORIGIN_UNUSABLE;
    } else {
        take_token(loader, text, (size_t)len, origin);
    }
    explicit_bzero(text, sizeof(text));
    if (fd >= 0)
        (void)close(fd);
}
