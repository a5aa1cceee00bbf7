/* SPDX-License-Identifier: BSD-2-Clause
 *
 * board - making and mapping the page.
 */
#include "common/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct board) <= BOARD_SIZE, "a board is one page");

int board_new(void)
{
    int fd = memfd_create("muster-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, BOARD_SIZE) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        int err = -errno;
        (void)close(fd);
        return err;
    }
    return fd;
}

static void *map(int fd, int protection)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &st) != 0 || st.st_size < BOARD_SIZE)
        return NULL;
    void *page = mmap(NULL, BOARD_SIZE, protection, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}

struct board *board_map(int fd)
{
    return map(fd, PROT_READ | PROT_WRITE);
}

const struct board *board_map_readonly(int fd)
{
    return map(fd, PROT_READ);
}

void board_unmap(const struct board *board)
{
    if (board != NULL)
        (void)munmap((void *)(uintptr_t)board, BOARD_SIZE);
}
