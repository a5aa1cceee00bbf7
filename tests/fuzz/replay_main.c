/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay_main - runs a fuzz target over files and directories, for compilers
 * without libFuzzer: every corpus entry is a regression test.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replayed;

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof(data), file);
    (void)fclose(file);
    /* An exact allocation lets AddressSanitizer see a read past the end. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        return 1;
    for (size_t i = 0; i < size; i++)
        copy[i] = data[i];
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    replayed++;
    return 0;
}

static int replay_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        perror(path);
        return 1;
    }
    int failed = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        char name[4096];
        if (snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) < (int)sizeof(name))
            failed |= replay_file(name);
    }
    (void)closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay_path(argv[i]);
    if (replayed == 0) {
        (void)fprintf(stderr, "nothing to replay\n");
        return 1;
    }
    printf("%d inputs replayed\n", replayed);
    return failed;
}
