// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A process that stays while the service behind it is replaced: for whoever knows a service by its process id, such as
/// a container, s6, foreman or a terminal. Linux only.
///
/// To its program it is a service manager: the program says in which process it lives (`MAINPID=`, sd_notify(3)). It
/// restarts nothing, and decides nothing else.
@main
struct Run {
    static func main() {
        do throws(Arguments.Mistake) {
            // SAFETY: argv lives as long as the process, and ends with a null pointer. It is copied.
            let words = CStrings(copying: UnsafePointer(CommandLine.unsafeArgv))
            switch try Arguments(words.strings.dropFirst()) {
            case .words(let words): print(words, terminator: "")
            case .run(let plan): exit(self.run(plan))
            }
        } catch {
            self.say("\(error.words). Usage: \(Arguments.usage)")
            exit(64)  // EX_USAGE, sysexits.h
        }
    }

    private static func run(_ plan: Arguments.Plan) -> CInt {
        do throws(UpgradeError) {
            var runner = try Runner(plan)
            return runner.run()
        } catch {
            self.say(error.cure.isEmpty ? error.message : "\(error.message). \(error.cure)")
            return self.status(of: error)
        }
    }

    /// As a shell has them.
    private static func status(of error: UpgradeError) -> CInt {
        switch error.code {
        case .executableMissing: 127
        case .executableNotPermitted, .executableFormat: 126
        default: 71  // EX_OSERR
        }
    }

    /// For people: one line on the standard error.
    static func say(_ words: String) {
        let line = Array("tableflip-run: \(words)\n".utf8)
        _ = write(2, line, line.count)
    }
}
