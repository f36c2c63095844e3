// Memory that only AddressSanitizer guards: without it, nothing happens.
#pragma once
#include "emulator/fiber.h"

#if PYRNN_EMULATE_ASAN
#  include <sanitizer/asan_interface.h>
#else
#  define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#  define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif
