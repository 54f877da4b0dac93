// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if os(Linux)
import CTableflip

extension Capabilities {
    /// What this system can do.
    package static let current = {
        let hasProcessDescriptors = Self.opensProcessDescriptors()
        return Capabilities(
            hasProcessDescriptors: hasProcessDescriptors, receivesCloseOnExec: true, descriptorsPerMessage: 253,
            sealsMemory: true, sharesTables: true, descriptorsInFlight: 16 * 253,
            startsForManager: hasProcessDescriptors
        )
    }()

    /// Kernels before 5.3, and sandboxes that filter system calls, have none.
    private static func opensProcessDescriptors() -> Bool {
        let descriptor = tf_process_descriptor(ProcessID.current)
        guard descriptor >= 0 else { return false }
        OwnedDescriptor(takingOwnershipOf: descriptor).close()
        return true
    }
}
#endif  // os(Linux)
