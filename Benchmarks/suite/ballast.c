// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// Loaded before a program that holds no memory of its own (LD_PRELOAD), so that it does: BALLAST bytes, resident.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

__attribute__((constructor)) static void fill(void) {
    const char *words = getenv("BALLAST");
    size_t size = words ? strtoull(words, NULL, 10) : 0;
    if (size == 0) return;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    memset(memory, 1, size);
}
