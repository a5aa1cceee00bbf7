/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_pool - buffers are large enough, come back, and the pool stays bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/pool.h"

#include <string.h>

static void test_capacity(void **state)
{
    (void)state;
    static const size_t wanted[] = {0,    1,     100,   1008,  1009,  4080,
                                    4081, 20000, 65536, 69616, 69617, 1 << 20};
    struct pool pool;
    pool_init(&pool);
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        struct chunk *chunk = pool_borrow(&pool, wanted[i]);
        assert_non_null(chunk);
        assert_true(chunk->capacity >= wanted[i]);
        assert_int_equal(chunk->len, 0);
        memset(chunk->data, 0xaa, chunk->capacity);
        chunk->len = 7;
        assert_int_equal(pool.borrowed, 1);
        pool_return(&pool, &chunk);
        assert_null(chunk);
        assert_int_equal(pool.borrowed, 0);
    }
    assert_null(pool_borrow(&pool, SIZE_MAX / 2));
    pool_fini(&pool);
}

static void test_returning_nothing(void **state)
{
    (void)state;
    struct pool pool;
    struct chunk *none = NULL;
    pool_init(&pool);
    pool_return(&pool, &none);
    assert_int_equal(pool.borrowed, 0);
    pool_fini(&pool);
}

static void test_bounded(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static struct chunk *chunks[COUNT];
    struct pool pool;
    pool_init(&pool);
    for (int i = 0; i < COUNT; i++) {
        chunks[i] = pool_borrow(&pool, 1000);
        assert_non_null(chunks[i]);
    }
    assert_int_equal(pool.borrowed, COUNT);
    for (int i = 0; i < COUNT; i++)
        pool_return(&pool, &chunks[i]);
    assert_int_equal(pool.borrowed, 0);
    size_t kept = 0;
    for (int i = 0; i < POOL_CLASSES; i++) {
        for (const struct chunk *chunk = pool.spare[i]; chunk != NULL; chunk = chunk->next)
            kept += chunk->capacity;
    }
    assert_true(kept <= POOL_KEEP_BYTES);
    pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_returning_nothing),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
