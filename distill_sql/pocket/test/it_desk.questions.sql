-- Number of tickets not closed yet?
SELECT count(*) FROM tkt WHERE ts_close IS NULL;
-- Which tickets is nobody working on, I mean with no agent on them? Ticket numbers.
SELECT tkt_no FROM tkt WHERE agt_id IS NULL;
-- Accounts that have been switched off: show the display names.
SELECT disp_nm FROM usr WHERE actv = 'N';
-- What did our most expensive piece of equipment cost, and what kind of thing is it?
SELECT knd, cost_eur FROM Asset ORDER BY cost_eur DESC LIMIT 1;
-- Money spent per kind of equipment, total and average.
SELECT knd, sum(cost_eur), avg(cost_eur) FROM Asset GROUP BY knd;
-- Laptops lying in the cupboard, i.e. assigned to nobody. Tags?
SELECT tag FROM Asset WHERE knd = 'laptop' AND u_id IS NULL;
-- Vendor names are a mess. Ignoring upper and lower case, how many different vendors do we buy from?
SELECT count(DISTINCT lower(vndr)) FROM Asset;
-- Lenovo machines, whatever the spelling of the vendor: count.
SELECT count(*) FROM Asset WHERE lower(vndr) = 'lenovo';
-- Show every unit with the unit it belongs to; the top one has none and should appear as well.
SELECT a.ou_nm, b.ou_nm FROM org_unit AS a LEFT JOIN org_unit AS b ON b.ou = a.up_ou;
-- Which units report directly to Operations?
SELECT a.ou_nm FROM org_unit AS a JOIN org_unit AS b ON b.ou = a.up_ou WHERE b.ou_nm = 'Operations';
-- Units with at least two units right below them. Names.
SELECT b.ou_nm FROM org_unit AS a JOIN org_unit AS b ON b.ou = a.up_ou GROUP BY b.ou HAVING count(*) >= 2;
-- Does any unit have no people in it? List.
SELECT o.ou_nm FROM org_unit AS o LEFT JOIN usr AS u ON u.ou = o.ou WHERE u.u_id IS NULL;
-- Names of the agents on the early shift, coded E.
SELECT u.disp_nm FROM agt AS a JOIN usr AS u ON u.u_id = a.u_id WHERE a.shft = 'E';
-- How many tickets has each agent closed? Show names, and drop anyone below fifteen.
SELECT u.disp_nm, count(*) FROM tkt AS t JOIN agt AS a ON a.agt_id = t.agt_id JOIN usr AS u ON u.u_id = a.u_id WHERE t.ts_close IS NOT NULL GROUP BY a.agt_id HAVING count(*) >= 15;
-- Average hours from opening to closing, by priority, one decimal.
SELECT prio, round(avg(24 * (julianday(ts_close) - julianday(ts_open))), 1) FROM tkt WHERE ts_close IS NOT NULL GROUP BY prio;
-- We promise a target time for every priority. How many closed tickets took longer than that?
SELECT count(*) FROM tkt AS t JOIN sla AS s ON s.prio = t.prio WHERE 24 * (julianday(t.ts_close) - julianday(t.ts_open)) > s."target hrs";
-- For each priority, what percentage of closed tickets was done within the promised target hours? Round to whole numbers.
SELECT t.prio, round(100.0 * sum(24 * (julianday(t.ts_close) - julianday(t.ts_open)) <= s."target hrs") / count(*)) FROM tkt AS t JOIN sla AS s ON s.prio = t.prio WHERE t.ts_close IS NOT NULL GROUP BY t.prio;
-- What do people complain about most? The category with the most tickets.
SELECT cat FROM tkt GROUP BY cat ORDER BY count(*) DESC LIMIT 1;
-- Tickets that came back more than once after closing. Number and how many times.
SELECT tkt_no, reopen_ct FROM tkt WHERE reopen_ct > 1;
-- Which users raised a network ticket but never a password one? Display names, please.
SELECT disp_nm FROM usr WHERE u_id IN (SELECT rptd_by FROM tkt WHERE cat = 'network') AND u_id NOT IN (SELECT rptd_by FROM tkt WHERE cat = 'password');
-- Quiet colleagues: everyone active who has not reported anything so far.
SELECT u.disp_nm FROM usr AS u WHERE u.actv = 'Y' AND NOT EXISTS (SELECT 1 FROM tkt AS t WHERE t.rptd_by = u.u_id);
-- Tickets opened before 9 in the morning – count those.
SELECT count(*) FROM tkt WHERE strftime('%H', ts_open) < '09';
-- On which day of the week do most tickets arrive? Use the database's own numbering, 0 for Sunday.
SELECT strftime('%w', ts_open) FROM tkt GROUP BY strftime('%w', ts_open) ORDER BY count(*) DESC LIMIT 1;
-- Urgent tickets, priorities 1 and 2 together, by quarter in which they were opened (1 to 4, everything is from 2023).
SELECT (strftime('%m', ts_open) + 2) / 3, count(*) FROM tkt WHERE prio <= 2 GROUP BY 1;
-- Whose gear adds up to more than 3000 euros? Display name and amount to the cent.
SELECT u.disp_nm, round(sum(a.cost_eur), 2) FROM Asset AS a JOIN usr AS u ON u.u_id = a.u_id GROUP BY u.u_id HAVING sum(a.cost_eur) > 3000;
-- Active users without any equipment to their name.
SELECT u.disp_nm FROM usr AS u LEFT JOIN Asset AS a ON a.u_id = u.u_id WHERE u.actv = 'Y' AND a.tag IS NULL;
-- Hardware handed to someone who has since been deactivated: tag and holder.
SELECT a.tag, u.disp_nm FROM Asset AS a JOIN usr AS u ON u.u_id = a.u_id WHERE u.actv = 'N';
-- When does the guarantee of laptop LA-1004 run out? Purchase date plus the months of warranty.
SELECT date(dt_bght, '+' || wrnty_mo || ' months') FROM Asset WHERE tag = 'LA-1004';
-- Assets bought in 2020 or 2021, how many and for how much in all?
SELECT count(*), sum(cost_eur) FROM Asset WHERE dt_bght BETWEEN '2020-01-01' AND '2021-12-31';
-- Which asset tags have been the subject of three tickets or more?
SELECT asset_tag FROM tkt WHERE asset_tag IS NOT NULL GROUP BY asset_tag HAVING count(*) >= 3;
-- Do some brands of laptop cause more trouble? Count the tickets about laptops for each vendor, vendor in lower case.
SELECT lower(a.vndr), count(*) FROM tkt AS t JOIN Asset AS a ON a.tag = t.asset_tag WHERE a.knd = 'laptop' GROUP BY lower(a.vndr);
-- Escalated (ESCAL) tickets of the email category, by number.
SELECT t.tkt_no FROM tkt AS t JOIN TktEvt AS e ON e.tkt_no = t.tkt_no WHERE e.what = 'ESCAL' AND t.cat = 'email';
-- How many events does a ticket go through on average? A ticket without events counts as zero.
SELECT 1.0 * (SELECT count(*) FROM TktEvt) / (SELECT count(*) FROM tkt);
-- How long until somebody picks it up? Mean number of minutes between opening and the ASSIGN event, one decimal.
SELECT round(avg(1440 * (julianday(e.ts) - julianday(t.ts_open))), 1) FROM TktEvt AS e JOIN tkt AS t ON t.tkt_no = e.tkt_no WHERE e.what = 'ASSIGN';
-- Tier by tier: number of agents, and number of tickets assigned to them.
SELECT a.tier, count(DISTINCT a.agt_id), count(t.tkt_no) FROM agt AS a LEFT JOIN tkt AS t ON t.agt_id = a.agt_id GROUP BY a.tier;
-- Logins with a blank at the end. Show the user ids.
SELECT u_id FROM usr WHERE login <> rtrim(login);
-- Comments (COMMENT) written by the very person who reported the ticket: how many?
SELECT count(*) FROM TktEvt AS e JOIN tkt AS t ON t.tkt_no = e.tkt_no WHERE e.what = 'COMMENT' AND e.by_u = t.rptd_by;
