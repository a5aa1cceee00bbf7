/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files - opening a file below the root and describing the answer.
 */
#include "worker/files.h"

#include "common/log.h"
#include "worker/exchange.h"
#include "worker/response.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct files {
    int root_fd;
    size_t prefix_len;
    bool complained; /* about something that every request would repeat */
};

struct files *files_new(const char *root, const char *prefix)
{
    struct files *files = calloc(1, sizeof(*files));
    if (files == NULL)
        return NULL;
    files->prefix_len = strlen(prefix);
    files->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (files->root_fd < 0) {
        int err = errno;
        free(files);
        errno = err;
        return NULL;
    }
    return files;
}

void files_free(struct files **files_ptr)
{
    struct files *files = *files_ptr;
    if (files == NULL)
        return;
    *files_ptr = NULL;
    (void)close(files->root_fd);
    free(files);
}

/* ---- one request ---- */

enum { ETAG_SIZE = 48, HEADERS_SIZE = 256 };

struct file_view {
    int fd;
    struct stat st;
    char etag[ETAG_SIZE];
    char modified[RESPONSE_DATE_LEN + 1];
};

static int open_beneath(const struct files *files, const char *path)
{
    struct open_how how = {
        /* A FIFO must not block the open. */
        .flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, files->root_fd, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

/* A regular file at `path`. The descriptor, -EISDIR, or -errno. */
static int open_regular(const struct files *files, const char *path, struct stat *st)
{
    int fd = open_beneath(files, path);
    if (fd < 0)
        return fd;
    int err = 0;
    if (fstat(fd, st) != 0)
        err = -errno;
    else if (S_ISDIR(st->st_mode))
        err = -EISDIR;
    else if (!S_ISREG(st->st_mode))
        err = -ENOENT;
    if (err == 0)
        return fd;
    (void)close(fd);
    return err;
}

static void describe(struct file_view *view)
{
    snprintf(view->etag, sizeof(view->etag), "\"%llx-%llx\"", (unsigned long long)view->st.st_size,
             (unsigned long long)view->st.st_mtim.tv_sec * 1000000000ULL +
                 (unsigned long long)view->st.st_mtim.tv_nsec);
    response_format_date((int64_t)view->st.st_mtim.tv_sec, view->modified);
}

static struct slice header_value(const struct http_request *request, const char *bytes,
                                 const char *name)
{
    const struct http_header *header = http_find_header(request, bytes, slice_from_str(name));
    return header != NULL ? http_slice(bytes, header->value) : slice_from(NULL, 0);
}

/* RFC 9110 13.2.2: If-None-Match wins over If-Modified-Since. */
static bool not_modified(const struct file_view *view, const struct http_request *request,
                         const char *bytes)
{
    struct slice none_match = header_value(request, bytes, "If-None-Match");
    if (none_match.ptr != NULL)
        return files_etag_matches(none_match, slice_from_str(view->etag));
    struct slice since = header_value(request, bytes, "If-Modified-Since");
    if (since.ptr == NULL)
        return false;
    int64_t time = response_parse_date(since);
    return time >= 0 && (int64_t)view->st.st_mtim.tv_sec <= time;
}

/* RFC 9110 13.1.5: a range of another version of the file would not fit. */
static bool if_range_holds(const struct file_view *view, const struct http_request *request,
                           const char *bytes)
{
    struct slice value = header_value(request, bytes, "If-Range");
    return value.ptr == NULL || slice_equal_str(value, view->etag) ||
           slice_equal_str(value, view->modified);
}

static void answer_file(struct conn *conn, const struct http_request *request, const char *bytes,
                        const char *path, struct file_view *view)
{
    char headers[HEADERS_SIZE];
    describe(view);
    int len = snprintf(headers, sizeof(headers),
                       "Last-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n", view->modified,
                       view->etag);
    struct reply reply = {
        .status = 200,
        .type = slice_from_str(files_content_type(path)),
        .is_file = true,
        .file = view->fd,
        .length = (int64_t)view->st.st_size,
    };
    if (not_modified(view, request, bytes)) {
        (void)close(view->fd);
        reply = (struct reply){.status = 304};
    } else if (request->method == HTTP_GET && if_range_holds(view, request, bytes)) {
        int64_t first, last;
        struct slice range = header_value(request, bytes, "Range");
        int found = files_parse_range(range, reply.length, &first, &last);
        if (found == -ERANGE) {
            (void)close(view->fd);
            snprintf(headers + len, sizeof(headers) - (size_t)len,
                     "Content-Range: bytes */%lld\r\n", (long long)reply.length);
            exchange_answer_error(conn, 416, "the range begins behind the end of the file",
                                  slice_from_str(headers + len));
            return;
        }
        if (found == 1) {
            len += snprintf(headers + len, sizeof(headers) - (size_t)len,
                            "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)first,
                            (long long)last, (long long)reply.length);
            reply.status = 206;
            reply.offset = first;
            reply.length = last - first + 1;
        }
    }
    reply.headers = slice_from(headers, (size_t)len);
    exchange_answer(conn, &reply);
}

static void answer_failure(struct conn *conn, struct files *files, int err)
{
    const char *message = "the file cannot be read";
    int status = 500;
    switch (err) {
    case -ENOENT:
    case -ENOTDIR:
    case -EISDIR:
    case -ELOOP:
    case -EXDEV: /* leaves the directory */
    case -EACCES:
    case -EPERM:
    case -ENXIO:
    case -ENAMETOOLONG:
        status = 404;
        message = "there is no such file";
        break;
    case -EINVAL:
        status = 400;
        message = "the path is malformed";
        break;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EAGAIN:
        status = 503;
        break;
    default:
        if (!files->complained)
            log_error("files cannot be opened", LOG_ERR(err));
        files->complained = true;
    }
    exchange_answer_error(conn, status, message, SLICE_LITERAL(""));
}

/* A directory that is asked for without its "/" would break the relative links on its page. */
static void redirect_to_directory(struct conn *conn, struct slice path)
{
    char headers[FILES_MAX_PATH * 3 + 64];
    if (path.len > FILES_MAX_PATH * 3 || slice_starts_with(path, SLICE_LITERAL("//"))) {
        exchange_answer_error(conn, 404, "there is no such file", SLICE_LITERAL(""));
        return;
    }
    int len = snprintf(headers, sizeof(headers), "Location: %.*s/\r\n", (int)path.len, path.ptr);
    struct reply reply = {.status = 301, .headers = slice_from(headers, (size_t)len)};
    exchange_answer(conn, &reply);
}

void files_handle(struct conn *conn, const struct http_request *request, const char *bytes,
                  void *context)
{
    struct files *files = context;
    struct slice path = http_path(request, bytes);
    if (path.len < files->prefix_len) {
        answer_failure(conn, files, -ENOENT);
        return;
    }
    struct slice rest = slice_from(path.ptr + files->prefix_len, path.len - files->prefix_len);
    char relative[FILES_MAX_PATH + sizeof("/index.html")];

    int err = files_decode_path(rest, relative);
    if (err != 0) {
        answer_failure(conn, files, err);
        return;
    }
    struct file_view view;
    bool as_directory = path.ptr[path.len - 1] == '/';
    if (as_directory)
        strcat(relative, "/index.html"); /* NOLINT: the array has room for it */
    view.fd = open_regular(files, relative, &view.st);
    if (view.fd == -EISDIR && !as_directory)
        redirect_to_directory(conn, path);
    else if (view.fd < 0)
        answer_failure(conn, files, view.fd);
    else
        answer_file(conn, request, bytes, relative, &view);
}
