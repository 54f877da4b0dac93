// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// `tableflipctl check`: whatever can be known of an upgrade without starting anything.
extension Engine {
    func dryRun(_ successor: Upgrader.Successor) -> [ControlFinding] {
        var findings = [self.moment]
        findings += self.program(successor)
        findings += self.pidFile + self.inventory
        return findings
    }

    private var moment: ControlFinding {
        guard let refusal = self.reasonToRefuse else {
            let hasVetoes = !self.context.hooks.vetoes.isEmpty
            let condition = hasVetoes ? ", if the program does not object when it is asked" : ""
            return .init("now", isGood: true, "an upgrade could begin\(condition)")
        }
        guard refusal.code == .predecessorAlive else { return .init("now", isGood: false, refusal.words) }
        // What `holdBack` would do.
        if self.waitingUpgrade != nil { return .init("now", isGood: false, self.alreadyWaiting.words) }
        switch self.context.configuration.overlap {
        case .wait:
            let previous = self.takeover.predecessor
            return .init(
                "now", isGood: true,
                "an upgrade would wait for the previous process (PID \(previous)), which is still draining, to leave")
        case .refuse:
            return .init(
                "now", isGood: false, "\(refusal.words) An upgrade would wait \(self.timings.farewell), and be refused."
            )
        }
    }

    private func program(_ successor: Upgrader.Successor) -> [ControlFinding] {
        let request: SpawnRequest
        do {
            request = try self.program(successor)
        } catch {
            return [.init("program", isGood: false, error.words)]
        }
        let executable = request.executable
        let isLink = executable.resolved != executable.path
        var findings = [
            ControlFinding(
                "program", isGood: true, executable.path + (isLink ? " -> \(executable.resolved)" : "")
            )
        ]
        findings.append(self.format(of: executable))
        let arguments = request.arguments.strings.map { String(decoding: $0, as: UTF8.self) }
        findings.append(.init("arguments", isGood: true, arguments.joined(separator: " ")))
        findings.append(.init("environment", isGood: true, "\(request.environment.strings.count) variables"))
        findings.append(self.directory(of: request))
        return findings
    }

    private func format(of executable: ExecutablePath) -> ControlFinding {
        do throws(SystemCallError) {
            switch try BinaryFormat(of: executable.cString) {
            case .elf(let machine):
                let name = BinaryFormat.name(ofMachine: machine)
                guard let native = BinaryFormat.nativeMachine, native != machine else {
                    return .init("format", isGood: true, "a program for \(name)")
                }
                return .init(
                    "format", isGood: false,
                    "a program for \(name), and this is \(BinaryFormat.name(ofMachine: native)). Install the build for "
                        + "this machine."
                )
            case .script(let interpreter):
                // A relative one counts from where the successor starts.
                guard !interpreter.hasPrefix("/") || FileAccess.isExecutable(interpreter) else {
                    return .init("format", isGood: false, "a script for \(interpreter), which cannot be started")
                }
                return .init("format", isGood: true, "a script for \(interpreter)")
            case .machO: return .init("format", isGood: true, "a program of Darwin")
            case .unknown:
                return .init(
                    "format", isGood: false, "no program that this system knows: neither a binary nor a script with #!"
                )
            }
        } catch {
            return .init("format", isGood: true, "not looked at, for the file may be executed and not read: \(error)")
        }
    }

    private func directory(of request: SpawnRequest) -> ControlFinding {
        do throws(UpgradeError) {
            try request.checkDirectory()
            return .init("directory", isGood: true, request.directory)
        } catch {
            return .init("directory", isGood: false, error.words)
        }
    }

    private var pidFile: [ControlFinding] {
        guard let own = self.context.pidFile else { return [] }
        // Another of the same name: ours holds what it has written.
        let file = PIDFile(path: own.path)
        do {
            try file.prepare()
            file.discard()
            let words = own.namesThisProcess ? "" : ", which does not name this process; an upgrade writes it anew"
            return [.init("PID file", isGood: true, file.path + words)]
        } catch {
            return [.init("PID file", isGood: false, error.words)]
        }
    }

    private var inventory: [ControlFinding] {
        let carried = self.context.sockets.carried
        if let lost = CarriedDescriptor.firstLost(of: carried) {
            return [
                .init(
                    "inherited", isGood: false,
                    "the descriptor of \(lost.name) was closed by another part of the program. Restart the service."
                )
            ]
        }
        var findings = self.context.sockets.files(from: self.context.directory).compactMap { socket, path in
            socket.lossOfFile(at: path).map {
                let what =
                    $0 == .gone
                    ? "the file of \(socket.name) is gone" : "\(path) is not the file of \(socket.name) any more"
                return ControlFinding(
                    "path", isGood: true, "\(what): nobody can connect before a restart, which no upgrade is")
            }
        }
        let sockets = carried.filter { $0.kind == .listener || $0.kind == .datagram }
        let named = sockets.prefix(ControlStatus.mostListeners)
        findings += named.map { .init("inherited", isGood: true, "\($0.kind) \($0.name)") }
        if sockets.count > named.count {
            findings.append(.init("inherited", isGood: true, "\(sockets.count - named.count) more sockets"))
        }
        if carried.count > sockets.count {
            findings.append(.init("inherited", isGood: true, "\(carried.count - sockets.count) other descriptors"))
        }
        return findings
    }
}
