// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if os(Linux)
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A filter of system calls, as a container has one (seccomp(2)).
enum SystemCallFilter {
    enum Call: UInt32 {
        case closeRange = 436
        #if arch(x86_64)
        case sendMessage = 46
        case unshare = 272
        #else
        case sendMessage = 211
        case unshare = 97
        #endif
    }

    /// From now on the calling thread and whatever it starts are refused these calls, by these errors. For good: so only
    /// an exit test may do it.
    static func refuse(_ calls: [(call: Call, error: CInt)]) throws {
        // linux/bpf_common.h and linux/seccomp.h. Each step is a code, two distances to jump, and a value.
        func step(_ code: UInt64, _ value: UInt64, otherwiseOver distance: UInt64 = 0) -> UInt64 {
            code | distance << 24 | value << 32
        }
        let (loadWord, jumpIfEqual, giveBack): (UInt64, UInt64, UInt64) = (0x20, 0x15, 0x06)
        let (allow, refuse): (UInt64, UInt64) = (0x7fff_0000, 0x0005_0000)
        var steps = [step(loadWord, 0)]
        for (call, error) in calls {
            steps.append(step(jumpIfEqual, UInt64(call.rawValue), otherwiseOver: 1))
            steps.append(step(giveBack, refuse | UInt64(error)))
        }
        steps.append(step(giveBack, allow))
        typealias Control = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
        // SAFETY: prctl(2) takes up to four more arguments, in the registers in which a function without `...` has them.
        let control = unsafeBitCast(try #require(dlsym(nil, "prctl")), to: Control.self)
        let (setNoNewPrivileges, setFilter, filterMode): (CInt, CInt, UInt) = (38, 22, 2)
        try check("prctl") { control(setNoNewPrivileges, 1, 0, 0, 0) }
        // SAFETY: the kernel copies the steps, which live through the call, and their number in front of their address.
        try steps.withUnsafeBufferPointer { steps in
            let program = [UInt(steps.count), UInt(bitPattern: steps.baseAddress)]
            try program.withUnsafeBufferPointer { program in
                let address = UInt(bitPattern: program.baseAddress)
                _ = try check("prctl") { control(setFilter, filterMode, address, 0, 0) }
            }
        }
    }
}
#endif
