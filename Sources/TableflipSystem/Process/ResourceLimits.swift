// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Limits of this process (getrlimit(2)).
package enum ResourceLimits {
    /// Makes room for descriptors that are about to arrive: the kernel drops what does not fit. Raises the soft limit
    /// only if it is lower than what is needed, and only up to the hard limit.
    package static func allowDescriptors(_ count: Int) {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard getrlimit(resource, &limit) == 0 else { return }
        // What the process opens by itself, beside what it is given.
        let wanted = rlim_t(count + 512)
        guard limit.rlim_cur < wanted else { return }
        limit.rlim_cur = min(wanted, limit.rlim_max)
        _ = setrlimit(resource, &limit)
    }
}
