// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Whose child a successor is.
package enum Parenthood: Hashable, Sendable {
    /// Its predecessor's.
    case predecessor
    /// The service manager's, which is the predecessor's parent: CLONE_PARENT, or where that is refused as the next.
    case manager
    /// Of whoever adopts the predecessor's orphans: by way of a process that ends at once.
    case adopted

    /// What starts successors so; the first kind where a system has no other.
    package func spawner(_ capabilities: Capabilities) -> any ProcessSpawner {
        guard self != .predecessor, capabilities.startsForManager else {
            return DirectSpawner(capabilities: capabilities)
        }
        return ManagedSpawner(capabilities: capabilities, isAdopted: self == .adopted)
    }
}

/// A child of the service manager.
///
/// Why: systemd follows a main process that it is told of (`MAINPID=`), and looks at that moment whether it is a child of
/// its own. Where the old main process is still the parent, it logs "Supervising process N which is not our child", and
/// from then on `systemctl stop` sends SIGTERM and SIGKILL in the same instant: no drain. Saying it again later does not
/// help. Seen on systemd 252, 254 and 257; a child from the start, and an orphan that was adopted before `MAINPID=` was
/// said, are both stopped as they should be.
package struct ManagedSpawner: ProcessSpawner {
    private let capabilities: Capabilities
    private let isAdopted: Bool

    package init(capabilities: Capabilities, isAdopted: Bool) {
        self.capabilities = capabilities
        self.isAdopted = isAdopted
    }

    package func spawn(_ request: SpawnRequest, channel: CInt) throws(UpgradeError) -> SpawnedProcess {
        try request.checkDirectory()
        var started = tf_clone()
        for parent in self.isAdopted ? [TF_PARENT_ADOPTER] : [TF_PARENT_OF_SELF, TF_PARENT_ADOPTER] {
            let error = request.withSpawn(channel: channel) { tf_clone_process($0, parent, &started) }
            if error == 0 {
                let descriptor = OwnedDescriptor(takingOwnershipOf: started.descriptor)
                return SpawnedProcess(id: started.process, descriptor: descriptor)
            }
            // A full table of processes would refuse the next way as well; a filter of system calls may not.
            guard started.wasForbidden(error) else { throw .spawn(request.executable.path, error) }
        }
        return try DirectSpawner(capabilities: self.capabilities).spawn(request, channel: channel)
    }
}

extension tf_clone {
    /// The kernel does not know a flag, or a filter of system calls does not let us.
    func wasForbidden(_ error: CInt) -> Bool { self.refused && [EINVAL, EPERM, ENOSYS].contains(error) }
}
