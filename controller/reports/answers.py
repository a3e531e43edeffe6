"""What our own adapters answer, in words of their own, as a person reads it in either language.

A closed set: what a device says of itself stays as it says it. A sentence is known by its pattern, its places are numbered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller.model.runbooks import Text

ANSWERS: Mapping[str, Text] = {
    "leadership is not held": Text(zh="未持有领导权", en="leadership is not held"),
    "a timer gap: observing, not acting": Text(
        zh="计时中断过：只观察，不动作", en="a timer gap: observing, not acting"
    ),
    "nothing confirms it": Text(zh="没有任何确认", en="nothing confirms it"),
    "dropped at the edges": Text(zh="已在边缘丢弃", en="dropped at the edges"),
    "edge rule": Text(zh="由边缘规则隔离", en="edge rule"),
    "calls in progress end with the address": Text(
        zh="进行中的通话随地址释放而结束", en="calls in progress end with the address"
    ),
    "what must stop is stopped with the fence": Text(
        zh="应停的随隔离一并停止", en="what must stop is stopped with the fence"
    ),
    "timeout": Text(zh="超时", en="timeout"),
    "TimeoutError": Text(zh="超时", en="timeout"),
    "Connection refused": Text(zh="连接被拒绝", en="connection refused"),
    "Connection reset by peer": Text(zh="连接被对端重置", en="connection reset by peer"),
    "Connection timed out": Text(zh="连接超时", en="connection timed out"),
    "Broken pipe": Text(zh="连接已断开", en="the connection is broken"),
    "No route to host": Text(zh="没有到主机的路由", en="no route to host"),
    "Network is unreachable": Text(zh="网络不可达", en="network is unreachable"),
    "Name or service not known": Text(zh="域名无法解析", en="the name does not resolve"),
    "Temporary failure in name resolution": Text(
        zh="域名暂时无法解析", en="temporary failure in name resolution"
    ),
    "Permission denied": Text(zh="没有权限", en="permission denied"),
    "No such file or directory": Text(zh="文件或目录不存在", en="no such file or directory"),
    "does not resolve": Text(zh="域名无法解析", en="the name does not resolve"),
    "read from the coordination store": Text(zh="由协调存储读取", en="read from the coordination store"),
    "headers came, the body did not": Text(zh="只收到响应头，没有正文", en="headers came, the body did not"),
    "let in without a password": Text(zh="不验密码即放行", en="let in without a password"),
    "our credentials are refused": Text(zh="我方凭据被拒绝", en="our credentials are refused"),
    "what came back is no SIP response": Text(
        zh="返回的不是信令响应", en="what came back is no SIP response"
    ),
    "a provisional response, and no final one": Text(
        zh="只有临时响应，没有最终响应", en="a provisional response, and no final one"
    ),
    "the grant is closed": Text(zh="授权已关闭", en="the grant is closed"),
    "there is no coordination store": Text(zh="没有协调存储", en="there is no coordination store"),
    "stops with its last call": Text(zh="最后一通电话结束后停止", en="stops with its last call"),
    "goes on": Text(zh="继续运行", en="goes on"),
    "takes calls": Text(zh="接受呼叫", en="takes calls"),
    "has ended": Text(zh="已结束", en="has ended"),
    "an edge did not answer in time; those that did are as before": Text(
        zh="有边缘未在时限内应答；已应答的边缘维持原状",
        en="an edge did not answer in time; those that did are as before",
    ),
    "the file system did not answer": Text(zh="文件系统无应答", en="the file system did not answer"),
}
"""Whole answers; what the operating system says of a connection among them."""

SENTENCES: Sequence[tuple[str, str, str]] = (
    # nobody answers
    (r"no answer from the agent of ([^;]+)", "{0} 的主机代理无应答", "no answer from the agent of {0}"),
    (
        r"no answer from ([^;]+), and (\S+) is not fenced",
        "{0} 无应答，且 {1} 未隔离",
        "no answer from {0}, and {1} is not fenced",
    ),
    (r"no answer from ([^;]+)", "{0} 无应答", "no answer from {0}"),
    (r"no connection to (\S+): (.+)", "无法连接 {0}：{1}", "no connection to {0}: {1}"),
    (r"sent to (\S+), no answer: (.+)", "已发往 {0}，无应答：{1}", "sent to {0}, no answer: {1}"),
    (r"(\S+) gave no answer in (\S+) s", "{0} 在 {1} 秒内无应答", "{0} gave no answer in {1} s"),
    (r"(\S+) did not answer in (\S+) s", "{0} 在 {1} 秒内无应答", "{0} did not answer in {1} s"),
    (r"(\S+) gave no answer: (.+)", "{0} 无应答：{1}", "{0} gave no answer: {1}"),
    (r"(\S+): no answer to (\S+): (.+)", "{0} 对 {1} 无应答：{2}", "{0}: no answer to {1}: {2}"),
    (r"(\S+): no answer: (.+)", "{0} 无应答：{1}", "{0}: no answer: {1}"),
    (r"(\S+): no answer to the update: (.+)", "{0} 对更新无应答：{1}", "{0}: no answer to the update: {1}"),
    (
        r"(\S+): closed without an answer to (.+)",
        "{0} 未答复 {1} 即关闭连接",
        "{0}: closed without an answer to {1}",
    ),
    (r"(\S+): (\S+) did not end in (\S+) s", "{0}：{1} 在 {2} 秒内未结束", "{0}: {1} did not end in {2} s"),
    (
        r"(\S+): calls still go on after (\S+) s",
        "{0}：{1} 秒后仍有通话",
        "{0}: calls still go on after {1} s",
    ),
    (r"(\S+) was not resolved in time", "{0} 未能及时解析", "{0} was not resolved in time"),
    (r"\[Errno -?\d+\] ([^:]+)", "{0}", "{0}"),
    (r"Connect call failed \((.+)\)", "连接失败（{0}）", "the connection failed ({0})"),
    # epochs
    (r"edge (\S+) has no epoch gate", "边缘 {0} 不核对纪元", "edge {0} has no epoch gate"),
    (
        r"edge (\S+): epoch (\d+) is older than (\d+)",
        "边缘 {0}：纪元 {1} 旧于 {2}",
        "edge {0}: epoch {1} is older than {2}",
    ),
    (
        r"epoch (\d+) is older than the grant's, (\d+)",
        "纪元 {0} 旧于授权的纪元 {1}",
        "epoch {0} is older than the grant's, {1}",
    ),
    (r"epoch (\d+) is older than (\d+)", "纪元 {0} 旧于 {1}", "epoch {0} is older than {1}"),
    (r"(\S+): epoch (\d+) is older than (\S+)", "{0}：纪元 {1} 旧于 {2}", "{0}: epoch {1} is older than {2}"),
    (
        r"edge (\S+): its list file is of epoch (\d+), newer than (\d+)",
        "边缘 {0}：列表文件的纪元 {1} 新于 {2}",
        "edge {0}: its list file is of epoch {1}, newer than {2}",
    ),
    # edges
    (
        r"edge (\S+): set (\d+) has no destination ([^;]+) \(byte for byte\)",
        "边缘 {0}：第 {1} 组没有目的地 {2}（须逐字节一致）",
        "edge {0}: set {1} has no destination {2} (byte for byte)",
    ),
    (
        r"(\S+) does not listen to this address",
        "{0} 不接受本机的地址",
        "{0} does not listen to this address",
    ),
    (
        r"edge (\S+) has no destination ([^;]+) \(byte for byte\)",
        "边缘 {0} 没有目的地 {1}（须逐字节一致）",
        "edge {0} has no destination {1} (byte for byte)",
    ),
    (
        r"edge (\S+) has no (\S+) in set (\d+)",
        "边缘 {0} 的第 {2} 组没有 {1}",
        "edge {0} has no {1} in set {2}",
    ),
    (
        r"edge (\S+): (\S+) shows (\S+) after the change",
        "边缘 {0}：变更后 {1} 显示为 {2}",
        "edge {0}: {1} shows {2} after the change",
    ),
    (
        r"edge (\S+): the fence of (\S+) did not take",
        "边缘 {0}：对 {1} 的隔离未生效",
        "edge {0}: the fence of {1} did not take",
    ),
    (
        r"(\S+) does not listen to this address \(403\)",
        "{0} 不接受本机的地址（403）",
        "{0} does not listen to this address (403)",
    ),
    (r"edges not configured: (.+)", "没有配置的边缘：{0}", "edges not configured: {0}"),
    (r"(\S+) is active at ([^;]+)", "{0} 在 {1} 已启用", "{0} is active at {1}"),
    (r"(\S+) is disabled at ([^;]+)", "{0} 在 {1} 已停用", "{0} is disabled at {1}"),
    (r"the trunks are not at (\S+): (.+)", "中继不在 {0}：{1}", "the trunks are not at {0}: {1}"),
    (r"(\S+): no such trunk", "{0}：没有这条中继", "{0}: no such trunk"),
    # balancers, names, documents, addresses
    (
        r"(\S+) has no server ([^;]+) \(byte for byte\)",
        "{0} 没有服务器 {1}（须逐字节一致）",
        "{0} has no server {1} (byte for byte)",
    ),
    (
        r"(\S+): (\S+) is not the one server that is up",
        "{0}：{1} 并非唯一在用的服务器",
        "{0}: {1} is not the one server that is up",
    ),
    (r"no state of (\S+): (.+)", "没有 {0} 的状态：{1}", "no state of {0}: {1}"),
    (
        r"(\S+): more than (\d+) octets for (.+)",
        "{0}：对 {2} 的答复超过 {1} 字节",
        "{0}: more than {1} octets for {2}",
    ),
    (
        r"(\S+) is changed by somebody else all the time",
        "{0} 一直在被别处修改",
        "{0} is changed by somebody else all the time",
    ),
    (
        r"(\S+) took the change and doesn't show it",
        "{0} 已接受变更，却未显示变更",
        "{0} took the change and doesn't show it",
    ),
    (
        r"(\S+) took the change, and what is running doesn't show it",
        "{0} 已接受变更，但运行状态未显示变更",
        "{0} took the change, and what is running doesn't show it",
    ),
    (r"([^;]+) doesn't show the change yet", "{0} 尚未显示变更", "{0} doesn't show the change yet"),
    (r"(\S+) can't be read back: (.+)", "{0} 无法回读：{1}", "{0} can't be read back: {1}"),
    (
        r"the document of (\S+) has no member (.+)",
        "{0} 的文档没有成员 {1}",
        "the document of {0} has no member {1}",
    ),
    (
        r"no snapshot of (\S+) could be taken: (.+)",
        "无法为 {0} 保存快照：{1}",
        "no snapshot of {0} could be taken: {1}",
    ),
    (
        r"(\S+): SERVFAIL: nothing was changed \(RFC 2136 3\.8\)",
        "{0}：域名服务器自身出错，未作任何变更",
        "{0}: SERVFAIL: nothing was changed (RFC 2136 3.8)",
    ),
    (r"(\S+) does not hold (\S+)", "{0} 未持有 {1}", "{0} does not hold {1}"),
    (r"(\S+) still holds (\S+)", "{0} 仍持有 {1}", "{0} still holds {1}"),
    # exchanges
    (r"no (Asterisk|FreeSWITCH) (.+) is configured", "没有配置 {0} {1}", "no {0} {1} is configured"),
    (r"maintenance of (.+) is (\S+)", "{0} 的维护状态：{1}", "maintenance of {0} is {1}"),
    (r"(\d+) members available", "可用成员 {0} 名", "{0} members available"),
    (r"fsctl (\S+) inbound had no effect", "对呼入执行 {0} 未生效", "fsctl {0} inbound had no effect"),
    # fences, grants, agents
    (r"(.+) shows nothing at (\S+)", "{0} 在 {1} 处没有内容", "{0} shows nothing at {1}"),
    (
        r"(.+) shows (.+) at (\S+), not (.+)",
        "{0} 在 {2} 处为 {1}，而非 {3}",
        "{0} shows {1} at {2}, not {3}",
    ),
    (
        r"the grant was (\S+)'s, which this group has no side of",
        "授权原属于 {0}，本组没有这一侧",
        "the grant was {0}'s, which this group has no side of",
    ),
    (r"the grant is not (\S+)'s", "授权不属于 {0}", "the grant is not {0}'s"),
    (r"(?:a )?fence (?:is )?not ready: (.+)", "隔离手段未就绪：{0}", "a fence is not ready: {0}"),
    (
        r"the outside fence of (\S+) is not ready: (.+)",
        "{0} 的外部隔离未就绪：{1}",
        "the outside fence of {0} is not ready: {1}",
    ),
    (r"(\S+) has no outside fence", "{0} 没有外部隔离手段", "{0} has no outside fence"),
    (r"(\S+) is not fenced at ([^;]+)", "{0} 在 {1} 未被隔离", "{0} is not fenced at {1}"),
    (
        r"(\S+) is not fenced: it has the grant, at epoch (\d+)",
        "{0} 未被隔离：它仍持有授权，纪元 {1}",
        "{0} is not fenced: it has the grant, at epoch {1}",
    ),
    (r"(\S+) is not fenced: (.+)", "{0} 未被隔离：{1}", "{0} is not fenced: {1}"),
    (r"fenced: (.+)", "已隔离：{0}", "fenced: {0}"),
    (
        r"the grant is (\S+)'s: it was not fenced",
        "授权仍属于 {0}：它未被隔离",
        "the grant is {0}'s: it was not fenced",
    ),
    (
        r"the grant is (\S+)'s at epoch (\d+)",
        "授权属于 {0}，纪元 {1}",
        "the grant is {0}'s at epoch {1}",
    ),
    (r"the grant: (.+)", "授权：{0}", "the grant: {0}"),
    (r"(\S+)'s agent: (.+)", "{0} 的主机代理：{1}", "{0}'s agent: {1}"),
    (r"(\S+) is not started: (.+)", "{0} 没有启动：{1}", "{0} is not started: {1}"),
    (r"group (\S+) has no side (\S+)", "{0} 组没有 {1} 这一侧", "group {0} has no side {1}"),
    # commands, requests, notifiers
    (
        r"no command (\S+) is on the allow-list",
        "命令 {0} 不在允许清单内",
        "no command {0} is on the allow-list",
    ),
    (r"requests to (\S+) are not allowed", "不允许向 {0} 发请求", "requests to {0} are not allowed"),
    (r"parameters: (.+)", "参数：{0}", "parameters: {0}"),
    (r"wrong parameters: (.+)", "参数有误：{0}", "wrong parameters: {0}"),
    (r"argument (\S+) is not allowed: (.+)", "不允许参数 {0}：{1}", "argument {0} is not allowed: {1}"),
    (r"(\S+) ended with (-?\d+)", "{0} 以 {1} 结束", "{0} ended with {1}"),
    (r"(\S+) ended with (-?\d+): (.+)", "{0} 以 {1} 结束：{2}", "{0} ended with {1}: {2}"),
    (
        r"(\S+) printed (.+), which is no number of calls",
        "{0} 输出 {1}，不是通话数",
        "{0} printed {1}, which is no number of calls",
    ),
    (
        r"(\S+) can't be used as certificate authorities: (.+)",
        "{0} 不能用作证书颁发机构：{1}",
        "{0} can't be used as certificate authorities: {1}",
    ),
    (r"(\S+) changes nothing", "{0} 不作任何变更", "{0} changes nothing"),
    (r"can't be sent: (.+)", "无法发出：{0}", "can't be sent: {0}"),
    (r"(\S+): it can't be sent: (.+)", "{0}：无法发出：{1}", "{0}: it can't be sent: {1}"),
    (r"(\S+): (\S+) can't be sent: (.+)", "{0}：{1} 无法发出：{2}", "{0}: {1} can't be sent: {2}"),
    (r"(\S+): (\S+) can't be written: (.+)", "{0}：{1} 无法写入：{2}", "{0}: {1} can't be written: {2}"),
    (r"arguments don't fit: (.+)", "参数不符：{0}", "arguments don't fit: {0}"),
    (r"(\S+):? can't be started: (.+)", "{0} 无法启动：{1}", "{0} can't be started: {1}"),
    (r"(\S+) can't be run", "{0} 无法运行", "{0} can't be run"),
    (r"(\S+) was killed after (\S+) s", "{0} 运行 {1} 秒后被终止", "{0} was killed after {1} s"),
    (r"(\S+): can't be read: (.+)", "{0} 无法读取：{1}", "{0}: can't be read: {1}"),
    (r"(\S+): can't be written: (.+)", "{0} 无法写入：{1}", "{0}: can't be written: {1}"),
    (
        r"(\S+) has no channel (\S+) in this configuration",
        "{0} 在配置中没有渠道 {1}",
        "{0} has no channel {1} in this configuration",
    ),
    (r"taken by (\S+)", "{0} 已接收", "taken by {0}"),
)
"""Pattern, Chinese, English. What is quoted is looked up in its turn."""
